//! The hands that hold sockets and children: the recording proxy, what it forwards to, the loop it runs.

mod adapter;
mod brake;
pub mod child;
mod client;
pub mod clock;
mod conversation;
mod decode;
mod fetch;
mod forward;
mod frames;
pub mod ids;
mod lately;
mod mock;
mod proxy;
mod queue;
mod reading;
pub mod record;
mod recorder;
mod route;
mod serve;
mod tee;
mod upstream;
mod websocket;
mod workspace;

pub use adapter::{AdapterError, Pointed, attach};
pub use brake::{Brakes, Pulled};
pub use fetch::Fetcher;
pub use mock::Mocks;
pub use proxy::{Ask, AskError, Begin, Proxy, ProxyConfig, ProxyError, Told, Totals};
pub use queue::Counts;
pub use reading::DECODED;
pub use route::{TRACE_HEADER, UPSTREAM_HEADER};
pub use serve::TOKEN_HEADER;
pub use upstream::{Answer, Answers, Asked, BadUpstream, Live, Reply, Upstream, Upstreams};
