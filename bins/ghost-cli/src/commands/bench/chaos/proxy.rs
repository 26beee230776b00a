//! What stands between the swarm and Redis: a TCP proxy whose lines can be cut, or fall silent without a word.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

const BUFFER: usize = 16 << 10;

/// The proxy; it and its lines end with this.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    lines: Arc<Mutex<Vec<watch::Sender<Flow>>>>,
    accepting: AbortHandle,
}

/// What a line does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// It carries them.
    Open,
    /// It holds them back, as a network does that lost its way.
    Silent,
    /// It drops them and closes both ends.
    Cut,
}

impl Proxy {
    /// One in front of this port.
    pub(super) async fn start(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free for a proxy")?;
        let address = listener.local_addr()?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let accepting = tokio::spawn(accept(listener, port, lines.clone())).abort_handle();
        Ok(Self { address, lines, accepting })
    }

    /// Cuts each line with this chance, and whatever is under way on it is lost.
    pub(super) fn cut(&self, chance: &mut fastrand::Rng, share: f64) {
        self.some(chance, share).iter().for_each(cut);
    }

    /// Lets each line fall silent with this chance, and cuts it after this time.
    pub(super) async fn silence(&self, chance: &mut fastrand::Rng, share: f64, time: Duration) {
        let chosen = self.some(chance, share);
        for line in &chosen {
            line.send_replace(Flow::Silent);
        }
        sleep(time).await;
        chosen.iter().for_each(cut);
    }

    fn some(&self, chance: &mut fastrand::Rng, share: f64) -> Vec<watch::Sender<Flow>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| line.receiver_count() > 0);
        lines.iter().filter(|_| chance.f64() < share).cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut(&mut fastrand::Rng::new(), 1.0);
    }
}

fn cut(line: &watch::Sender<Flow>) {
    line.send_replace(Flow::Cut);
}

async fn accept(listener: TcpListener, port: u16, lines: Arc<Mutex<Vec<watch::Sender<Flow>>>>) {
    // Where one cannot be accepted its client tries again.
    while let Ok((client, _)) = listener.accept().await {
        let (line, flow) = watch::channel(Flow::Open);
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        tokio::spawn(carry(client, port, flow));
    }
}

/// Carries bytes both ways until either end closes or the line is cut.
async fn carry(client: TcpStream, port: u16, flow: watch::Receiver<Flow>) {
    // Nobody listens while Redis is dead: the client's connection closes with this.
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    // Who connects to a port that nobody has may be given that very port, and is then connected with itself.
    if server.local_addr().ok() == server.peer_addr().ok() {
        return;
    }
    for stream in [&client, &server] {
        // Only a matter of time.
        let _ = stream.set_nodelay(true);
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut cut = flow.clone();
    tokio::select! {
        () = pump(from_client, to_server, flow.clone()) => {}
        () = pump(from_server, to_client, flow) => {}
        _ = cut.wait_for(|flow| *flow == Flow::Cut) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flow: watch::Receiver<Flow>) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if flow.wait_for(|flow| *flow == Flow::Open).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        port
    }

    async fn say(stream: &mut TcpStream) -> std::io::Result<[u8; 2]> {
        stream.write_all(b"hi").await?;
        let mut heard = [0; 2];
        stream.read_exact(&mut heard).await?;
        Ok(heard)
    }

    #[tokio::test]
    async fn bytes_pass_until_the_line_is_cut_and_a_new_line_carries_again() {
        let proxy = Proxy::start(echo().await).await.expect("a proxy");
        let mut line = TcpStream::connect(proxy.address).await.expect("a line");
        assert_eq!(say(&mut line).await.expect("an echo"), *b"hi");
        proxy.cut(&mut fastrand::Rng::with_seed(1), 1.0);
        assert!(say(&mut line).await.is_err());
        let mut line = TcpStream::connect(proxy.address).await.expect("a line");
        assert_eq!(say(&mut line).await.expect("an echo"), *b"hi");
    }

    #[tokio::test]
    async fn a_silent_line_says_nothing_and_is_cut_in_the_end() {
        let proxy = Proxy::start(echo().await).await.expect("a proxy");
        let mut line = TcpStream::connect(proxy.address).await.expect("a line");
        assert_eq!(say(&mut line).await.expect("an echo"), *b"hi");
        let mut chance = fastrand::Rng::with_seed(1);
        let silence = proxy.silence(&mut chance, 1.0, Duration::from_millis(50));
        let (said, ()) = tokio::join!(say(&mut line), silence);
        assert!(said.is_err(), "{said:?}");
    }
}
