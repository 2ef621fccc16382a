//! What peers say while they prove themselves, and the secrets that they are checked against.

use std::hint::black_box;

use protocol::scram::client::{Begun, Binding};
use protocol::scram::server::{ClientFirst, Judged, flag};
use protocol::scram::{ClientKey, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, Secret};
use proxy::UserList;

/// The nonces of the exchange in RFC 7677, so that its messages are among the seeds.
const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

/// Password "pencil", with the salt of that exchange.
pub(super) const SECRET: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
     WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

/// Each message of the exchange, and the secret. The first byte says which.
pub(super) fn scram(data: &[u8]) {
    let (which, message) = data.split_first().unwrap_or((&0, &[]));
    match which % 5 {
        0 => client_first(message),
        1 => client_final(message),
        2 => server_first(message),
        3 => server_final(message),
        _ => secret(message),
    }
}

/// Whoever binds where nothing can be bound is refused.
fn client_first(message: &[u8]) {
    black_box(flag(message));
    for mechanism in [SCRAM_SHA_256, SCRAM_SHA_256_PLUS, "SCRAM-SHA-1"] {
        let plain = ClientFirst::parse(mechanism, message, false);
        assert!(plain.is_err() || mechanism == SCRAM_SHA_256, "{plain:?}");
        let first = ClientFirst::parse(mechanism, message, true);
        let Ok(first) = first else { continue };
        let challenge = first.challenge(b"salt", 4096, SERVER_NONCE);
        // Our own end reads what is answered, whatever the client's nonce is.
        let nonce = challenge.message().strip_prefix("r=");
        let nonce = nonce.and_then(|rest| rest.split_once(SERVER_NONCE));
        let begun = nonce.map(|(nonce, _)| Begun::new(Binding::Unsupported, nonce.to_owned()));
        let read = begun.map(|it| it.challenged(challenge.message().as_bytes()));
        assert!(matches!(read, Some(Ok(_))), "{challenge:?}: {read:?}");
    }
}

/// Nobody proves anything without the key: a proof that is taken shows the key of the secret.
fn client_final(message: &[u8]) {
    let known = Secret::parse(SECRET).ok();
    let first = format!("n,,n=user,r={CLIENT_NONCE}");
    for secret in [known.as_ref(), None] {
        let first = ClientFirst::parse(SCRAM_SHA_256, first.as_bytes(), false);
        let (Ok(first), Some(known)) = (first, &known) else {
            panic!("the exchange does not begin");
        };
        let challenge = first.challenge(&known.salt, known.iterations, SERVER_NONCE);
        if let Ok(Judged::Proved { client_key, .. }) = challenge.judge(message, None, secret) {
            assert!(secret.is_some(), "proved without a secret");
            assert_eq!(client_key.stored_key(), known.stored_key());
        }
    }
}

/// A challenge that is taken continues our nonce, and is proved with anything.
fn server_first(message: &[u8]) {
    let begun = Begun::new(Binding::NotOffered, CLIENT_NONCE.to_owned());
    if let Ok(challenged) = begun.challenged(message) {
        let (last, proved) = challenged.prove(&ClientKey::from_bytes([7; 32]));
        assert!(
            last.starts_with(&format!("c=eSws,r={CLIENT_NONCE}")),
            "{last}"
        );
        drop(format!("{proved:?}"));
    }
}

/// A server that does not know the secret does not get past us, whatever it says: the one signature
/// that is right cannot be found by trying.
fn server_final(message: &[u8]) {
    let begun = Begun::new(Binding::EndPoint(b"name".to_vec()), CLIENT_NONCE.to_owned());
    let challenge = format!("r={CLIENT_NONCE}{SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    let (Ok(challenged), Ok(secret)) = (
        begun.challenged(challenge.as_bytes()),
        Secret::parse(SECRET),
    ) else {
        panic!("the exchange does not begin");
    };
    let (_, proved) = challenged.prove(&ClientKey::from_bytes([7; 32]));
    assert!(proved.verify(message, &secret).is_err());
}

/// A secret that is taken can be used, and is not shown.
fn secret(message: &[u8]) {
    let Ok(text) = std::str::from_utf8(message) else {
        return;
    };
    if let Ok(secret) = Secret::parse(text) {
        assert!(secret.iterations > 0);
        let shown = format!("{secret:?}");
        let keys = text.rsplit('$').next().unwrap_or_default();
        assert!(!shown.contains(keys), "{shown}");
    }
}

/// No more secrets than lines, and the line that is wrong is one of them.
pub(super) fn auth_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match UserList::parse(text) {
        Ok(list) => {
            assert!(list.passed_over() <= text.lines().count());
            black_box(list.secret("me"));
            assert_eq!(UserList::parse(&format!("; mine\n{text}")), Ok(list));
        }
        Err(problem) => {
            let number = problem.rsplit(' ').next().and_then(|it| it.parse().ok());
            assert!(number.is_some_and(|it: usize| it <= text.lines().count()));
        }
    }
}
