//! Trackers that answer whatever a test wants answered, over HTTP or UDP.

use super::{HONEST, HOSTILE};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A tracker at work, until it is dropped.
pub(crate) struct Tracker {
    /// Where it is announced to.
    pub(crate) url: String,
    tally: Arc<Tally>,
    task: JoinHandle<()>,
}

/// How much was asked and answered.
#[derive(Default)]
struct Tally {
    asked: AtomicUsize,
    served: AtomicU64,
}

/// A request over HTTP that waits for its answer.
pub(crate) struct Asked {
    /// Path and query.
    pub(crate) target: String,
    /// All of its head.
    pub(crate) head: String,
    stream: TcpStream,
    tally: Arc<Tally>,
}

impl Tracker {
    /// A hostile one over HTTP, which does to each request what `script` says.
    pub(crate) async fn http<F>(script: impl Fn(Asked) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        Self::http_at(HOSTILE, script).await
    }

    async fn http_at<F>(at: Ipv4Addr, script: impl Fn(Asked) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((at, 0)).await.unwrap();
        let url = format!("http://{}/announce", listener.local_addr().unwrap());
        let tally = Arc::new(Tally::default());
        let counting = Arc::clone(&tally);
        let task = tokio::spawn(async move {
            // Answers end with the tracker.
            let mut answers = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(head) = read_head(&mut stream).await else { continue };
                let Some(target) = head.split(' ').nth(1).map(str::to_owned) else { continue };
                counting.asked.fetch_add(1, Ordering::Relaxed);
                answers.spawn(script(Asked { target, head, stream, tally: Arc::clone(&counting) }));
            }
        });
        Self { url, tally, task }
    }

    /// One over HTTP that sends the same bytes to everybody, and closes the connection.
    pub(crate) async fn raw(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self::http(move |mut asked| {
            let bytes = Arc::clone(&bytes);
            async move { asked.say(&bytes).await }
        })
        .await
    }

    /// One over HTTP whose answer to everybody has this body.
    pub(crate) async fn body(body: impl AsRef<[u8]>) -> Self {
        Self::raw(with_head(body.as_ref())).await
    }

    /// An honest one. It keeps whoever asks waiting until it is told of a peer.
    pub(crate) async fn honest() -> (Self, watch::Sender<Option<SocketAddr>>) {
        let (tell, told) = watch::channel(None);
        let tracker = Self::http_at(HONEST, move |mut asked| {
            let mut told = told.clone();
            async move {
                let peer = match told.wait_for(Option::is_some).await.map(|peer| *peer) {
                    Ok(Some(peer)) => peer,
                    _ => return Ok(()),
                };
                asked.say(&with_head(&answer(&compact([peer])))).await
            }
        })
        .await;
        (tracker, tell)
    }

    /// A hostile one over UDP, which answers each datagram by those that `script` gives.
    pub(crate) async fn udp<D>(script: impl Fn(&[u8]) -> D + Send + 'static) -> Self
    where
        D: IntoIterator<Item = Vec<u8>> + Send,
        D::IntoIter: Send,
    {
        let socket = UdpSocket::bind((HOSTILE, 0)).await.unwrap();
        let url = format!("udp://{}/announce", socket.local_addr().unwrap());
        let tally = Arc::new(Tally::default());
        let counting = Arc::clone(&tally);
        let task = tokio::spawn(async move {
            let mut datagram = vec![0; 65_536];
            while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
                counting.asked.fetch_add(1, Ordering::Relaxed);
                for answer in script(&datagram[..length]) {
                    let sent = socket.send_to(&answer, from).await.unwrap_or(0);
                    counting.served.fetch_add(sent as u64, Ordering::Relaxed);
                }
            }
        });
        Self { url, tally, task }
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> usize {
        self.tally.asked.load(Ordering::Relaxed)
    }

    /// How many bytes were answered.
    pub(crate) fn served(&self) -> u64 {
        self.tally.served.load(Ordering::Relaxed)
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asked {
    /// Sends bytes as they are.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(1 << 16) {
            self.stream.write_all(part).await?;
            self.tally.served.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The tracker's own address.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Sends no more, and waits until the other side has closed as well.
    pub(crate) async fn wait_for_the_end(mut self) -> io::Result<()> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.map(|_| ())
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A body behind the head that goes with it.
pub(crate) fn with_head(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

/// The body of an announce's answer with these IPv4 peers, packed.
pub(crate) fn answer(peers: &[u8]) -> Vec<u8> {
    [format!("d8:intervali1800e5:peers{}:", peers.len()).as_bytes(), peers, b"e"].concat()
}

/// Addresses as trackers pack them (BEP 23, BEP 7).
pub(crate) fn compact(peers: impl IntoIterator<Item = SocketAddr>) -> Vec<u8> {
    let mut packed = Vec::new();
    for peer in peers {
        match peer {
            SocketAddr::V4(peer) => packed.extend(peer.ip().octets()),
            SocketAddr::V6(peer) => packed.extend(peer.ip().octets()),
        }
        packed.extend(peer.port().to_be_bytes());
    }
    packed
}
