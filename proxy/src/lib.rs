//! Segue: proxy.
