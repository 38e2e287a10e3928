//! Accepting connections on the link's thread.

use std::{net::TcpListener, time::Duration};

use tokio::{net::TcpStream, task::JoinSet};

/// After a failure, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves each connection by a task of its own, without end. Dropped, it stops all of them.
pub async fn accept<Served: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> Served,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "link: no connection can be accepted");
            return;
        }
    };
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                connections.spawn(serve(client));
            }
            Err(error) => {
                tracing::error!(%error, "link: a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}
