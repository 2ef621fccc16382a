use proptest::prelude::*;

use super::client::{Begun, Binding};
use super::server::{ClientFirst, Judged};
use super::*;

/// RFC 7677, section 3: user "user", password "pencil".
mod vector {
    pub(super) const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    pub(super) const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    pub(super) const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    pub(super) const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    pub(super) const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    /// Of password and salt, as `pg_authid` keeps it (by PostgreSQL 15, with this salt).
    pub(super) const SECRET: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
}

fn secret() -> Secret {
    Secret::parse(vector::SECRET).unwrap()
}

fn judged(client_final: &str) -> Result<Judged, ScramError> {
    let first = ClientFirst::parse(SCRAM_SHA_256, vector::CLIENT_FIRST.as_bytes(), false).unwrap();
    let secret = secret();
    let challenge = first.challenge(&secret.salt, secret.iterations, vector::SERVER_NONCE);
    assert_eq!(challenge.message(), vector::SERVER_FIRST);
    challenge.judge(client_final.as_bytes(), None, Some(&secret))
}

#[test]
fn the_rfcs_exchange_comes_out_as_printed() {
    let Ok(Judged::Proved {
        message,
        client_key,
    }) = judged(vector::CLIENT_FINAL)
    else {
        panic!("not proved");
    };
    assert_eq!(message, vector::SERVER_FINAL);
    assert_eq!(client_key.stored_key(), secret().stored_key());
}

#[test]
fn another_proof_proves_nothing() {
    let wrong = vector::CLIENT_FINAL.replace("p=dHzb", "p=eHzb");
    assert_eq!(judged(&wrong), Ok(Judged::NotProved));
}

#[test]
fn the_key_that_was_learned_opens_the_server_behind() {
    let Ok(Judged::Proved { client_key, .. }) = judged(vector::CLIENT_FINAL) else {
        panic!("not proved");
    };
    for binding in [
        Binding::Unsupported,
        Binding::NotOffered,
        Binding::EndPoint(b"certificate".to_vec()),
    ] {
        let (mechanism, secret) = (binding.mechanism(), secret());
        let begun = Begun::new(binding, "ours".to_owned());
        let can_bind = mechanism == SCRAM_SHA_256_PLUS;
        let first = ClientFirst::parse(mechanism, begun.message().as_bytes(), can_bind).unwrap();
        let challenge = first.challenge(&secret.salt, secret.iterations, "theirs");
        let challenged = begun.challenged(challenge.message().as_bytes()).unwrap();
        assert!(challenged.is_for(&secret));
        let (last, proved) = challenged.prove(&client_key);
        let judged = challenge.judge(last.as_bytes(), Some(b"certificate"), Some(&secret));
        let Ok(Judged::Proved { message, .. }) = judged else {
            panic!("{judged:?}");
        };
        assert_eq!(proved.verify(message.as_bytes(), &secret), Ok(()));
        let forged = format!("v={}", message::encode(&[0; 32]));
        assert_eq!(
            proved.verify(forged.as_bytes(), &secret),
            Err(ScramError::Impostor)
        );
        let refused = proved.verify(b"e=invalid-proof", &secret);
        assert!(matches!(refused, Err(ScramError::Refused { .. })));
    }
}

#[test]
fn another_certificate_fails_the_binding() {
    let begun = Begun::new(Binding::EndPoint(b"seen".to_vec()), "ours".to_owned());
    let first = begun.message();
    let first = ClientFirst::parse(SCRAM_SHA_256_PLUS, first.as_bytes(), true).unwrap();
    let challenge = first.challenge(b"salt", 1, "theirs");
    let challenged = begun.challenged(challenge.message().as_bytes()).unwrap();
    let (last, _) = challenged.prove(&ClientKey::from_bytes([1; 32]));
    let judged = challenge.judge(last.as_bytes(), Some(b"there"), None);
    assert_eq!(judged, Err(ScramError::Binding));
}

#[test]
fn flags_that_contradict_the_mechanism_are_refused() {
    let parse = |mechanism, message: &str, can_bind| {
        ClientFirst::parse(mechanism, message.as_bytes(), can_bind).map(drop)
    };
    assert_eq!(parse(SCRAM_SHA_256, "y,,n=,r=x", false), Ok(()));
    assert_eq!(
        parse(SCRAM_SHA_256, "y,,n=,r=x", true),
        Err(ScramError::Downgrade)
    );
    assert_eq!(
        parse(SCRAM_SHA_256, "p=tls-unique,,n=,r=x", true),
        Err(ScramError::BindingFlag)
    );
    assert_eq!(
        parse(SCRAM_SHA_256_PLUS, "n,,n=,r=x", true),
        Err(ScramError::BindingFlag)
    );
    assert_eq!(
        parse(SCRAM_SHA_256_PLUS, "p=tls-unique,,n=,r=x", true),
        Err(ScramError::BindingType)
    );
    for message in [
        "n,a=admin,n=,r=x",
        "n,,r=x",
        "n,,n=,r=",
        "n,,n=,r=\u{e9}",
        "",
        "n",
    ] {
        assert!(parse(SCRAM_SHA_256, message, false).is_err(), "{message:?}");
    }
}

#[test]
fn texts_that_are_no_secret_are_refused() {
    assert_eq!(Secret::parse("md5abc"), Err(SecretError::OtherKind));
    for text in [
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$0:a$b:c",
        "SCRAM-SHA-256$4096:AA==$AA==:AA==",
    ] {
        assert_eq!(Secret::parse(text), Err(SecretError::Broken), "{text}");
    }
    assert!(!format!("{:?}", secret()).contains("WG5d"));
}

proptest! {
    #[test]
    fn no_bytes_of_a_peer_do_harm(message in proptest::collection::vec(any::<u8>(), 0..80), cut in 0usize..60) {
        drop(ClientFirst::parse(SCRAM_SHA_256, &message, false));
        let begun = Begun::new(Binding::Unsupported, "x".to_owned());
        drop(begun.challenged(&message));
        drop(judged(&String::from_utf8_lossy(&message)));
        let cut = vector::CLIENT_FINAL.get(..cut).unwrap_or_default();
        prop_assert_ne!(judged(cut), judged(vector::CLIENT_FINAL));
    }
}
