//! Connections to the source database for cancel requests and for clients.
//!
//! Does not authenticate: the client does, through the proxy.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use control::server::{Route, Way};
use control::{ConnectCause, Dsn};

pub(crate) use control::server::ServerStream as SourceStream;

use crate::settings::Settings;

/// How a worker reaches the source. The certificates that the connection string names are read
/// again with every new version of the settings, so that renewed ones need no restart.
#[derive(Debug)]
pub(crate) struct Source {
    dsn: Dsn,
    known: RefCell<Option<Known>>,
}

/// A route, and the settings at whose time its files were read.
#[derive(Debug)]
struct Known {
    of: Arc<Settings>,
    route: Rc<Route>,
}

impl Source {
    pub(crate) fn new(dsn: &Dsn) -> Self {
        Self {
            dsn: dsn.clone(),
            known: RefCell::new(None),
        }
    }

    /// The way to the source under these settings. Files that cannot be read any more leave it as
    /// it was.
    pub(crate) fn route(&self, settings: &Arc<Settings>) -> Result<Rc<Route>, ConnectCause> {
        let mut known = self.known.borrow_mut();
        let route = match known.take() {
            Some(Known { of, route }) if Arc::ptr_eq(&of, settings) => route,
            old => match (Route::new(&self.dsn), old) {
                (Ok(route), _) => Rc::new(route),
                (Err(fault), Some(Known { route, .. })) => {
                    tracing::error!("the source's certificates stay as they were read: {fault}");
                    route
                }
                (Err(fault), None) => return Err(fault.into()),
            },
        };
        *known = Some(Known {
            of: Arc::clone(settings),
            route: Rc::clone(&route),
        });
        Ok(route)
    }
}

/// Opens a connection in the way that is tried first.
pub(crate) async fn connect(route: &Route) -> Result<SourceStream, ConnectCause> {
    let way = route.ways().first().copied();
    route.open(way.unwrap_or(Way::Clear)).await
}
