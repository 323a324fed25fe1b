//! A desk's side of the wire: admitted by the collector's command line, pushing what its COSC signed.

use std::fs;

use protocol::ALPN_PUSH;
use protocol::message::{CHUNK_BYTES_MAX, DeskMessage, OfferedFile, PushReply, Rollout};
use protocol::repository::RepositoryPath;
use quinn::{Connection, RecvStream, SendStream};

use crate::process::Collector;
use crate::sensor::{Credentials, connect, new_request, read, write};

pub fn admitted_desk(collector: &Collector) -> Credentials {
    let (key, request) = new_request();
    let file = collector.folder.path().join("desk.req.pem");
    fs::write(&file, request).unwrap();
    let chain_pem = collector.ok(&["admit-desk", file.to_str().unwrap(), "--name", "cosc-esempio"]);
    Credentials { chain_pem, key_pem: key.serialize_pem() }
}

/// One push, over a connection of its own.
pub struct Push {
    pub connection: Connection,
    pub send: SendStream,
    pub recv: RecvStream,
    pub wanted: Vec<RepositoryPath>,
}

impl Push {
    /// Offers these files; the collector says which it wants.
    pub async fn offer(collector: &Collector, desk: &Credentials, files: Vec<OfferedFile>) -> Self {
        Self::offer_first(collector, desk, files, None).await
    }

    async fn offer_first(
        collector: &Collector,
        desk: &Credentials,
        files: Vec<OfferedFile>,
        rollout: Option<Rollout>,
    ) -> Self {
        let connection = connect(collector, ALPN_PUSH, Some(desk)).await.unwrap();
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        write(&mut send, &DeskMessage::Offer { files, rollout }).await;
        let PushReply::Want { paths } = read(&mut recv).await else { panic!("offer refused") };
        Self { connection, send, recv, wanted: paths }
    }

    /// Pushes everything that is wanted and gives the answer.
    pub async fn whole(collector: &Collector, desk: &Credentials) -> (Self, PushReply) {
        Self::rolled_out(collector, desk, None).await
    }

    /// The same, to a share of the towns first.
    pub async fn rolled_out(
        collector: &Collector,
        desk: &Credentials,
        rollout: Option<Rollout>,
    ) -> (Self, PushReply) {
        let mut push = Self::offer_first(collector, desk, collector.cosc.files(), rollout).await;
        for path in push.wanted.clone() {
            let bytes = fs::read(collector.cosc.path().join(path.as_str())).unwrap();
            for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
                write(&mut push.send, &DeskMessage::Chunk { bytes: chunk.to_vec() }).await;
            }
        }
        let reply = read(&mut push.recv).await;
        (push, reply)
    }
}
