//! What was read, dropped and not understood, by reason. Hostile input ends here, never in a log line.

use serde::Serialize;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the detector began. A new reason is a new field.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Name and value of each, in the order of the data's way.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }

            /// What was counted since these counts.
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }

            /// Adds the counts of another worker.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
            }
        }
    };
}

counters! {
    /// Frames handed in.
    frames,
    /// Frames that carry no IP, such as ARP.
    frames_not_ip,
    /// Frames whose headers are cut or contradict themselves.
    frames_malformed,
    /// Frames that only their keys would open: 802.11, MACsec.
    frames_encrypted,
    /// IP packets, those inside tunnels and those put together from fragments included.
    packets,
    /// Fragments of IP packets.
    packets_fragment,
    /// IP packets put together from their fragments.
    packets_whole,
    /// IP packets of which a fragment did not come in time; what there is of them was read.
    fragments_late,
    /// IP packets given up to make room for fragments of others; what there is of them was read.
    fragments_evicted,
    /// Fragments refused because there were too many of one packet.
    fragments_too_many,
    /// Fragments that overlap others: of IPv4 the first bytes count, of IPv6 the packet is dropped.
    fragments_overlap,
    /// Fragments that cannot be: beyond the largest packet or the last fragment, or of no length.
    fragments_malformed,
    /// Tunnels inside tunnels beyond the depth that is followed.
    tunnels_too_deep,
    /// Flows begun.
    flows_begun,
    /// Flows ended by silence.
    flows_idle,
    /// Flows forgotten early because the flow table was full.
    flows_evicted,
    /// Segments that waited for an earlier one.
    segments_early,
    /// Bytes that were missing when a stream was read on.
    stream_gaps,
    /// Segments sent again with other contents than the first time.
    segments_differ,
    /// Streams not read because all stream heads together held too much.
    streams_refused,
    /// Flows of which no more was read to make room for others; what there was of them was read.
    streams_evicted,
    /// Datagrams not read because what flows keep together was too much.
    datagrams_refused,
    /// Stream heads given up because a message was longer than is kept.
    heads_too_long,
    /// DNS messages.
    dns_messages,
    /// DNS messages that are cut or contradict themselves.
    dns_malformed,
    /// ClientHellos of TLS, DTLS and QUIC.
    tls_hellos,
    /// ClientHellos and records that are cut or contradict themselves.
    tls_malformed,
    /// Certificates sent in clear.
    certificates,
    /// Certificates not read because they, or their chain, are longer than is read.
    certificates_refused,
    /// Certificates of a chain whose rest did not come; not reported.
    certificates_cut,
    /// QUIC client Initials that were decrypted.
    quic_initials,
    /// QUIC Initials that could not be read.
    quic_malformed,
    /// HTTP requests.
    http_requests,
    /// HTTP heads that could not be read, and places where a message should begin and none does.
    http_malformed,
    /// Files of FTP not read because their paths were out of proportion to the commands that named them.
    ftp_files_refused,
    /// HTTP heads longer than is kept: what their first part says was read.
    http_heads_long,
    /// HTTP messages whose fields leave open where their body ends, as request smuggling has it.
    http_framing_odd,
    /// Streams given up because no HTTP message was found again after damage.
    http_given_up,
    /// HTTP responses looked at.
    http_responses,
    /// Bodies hashed.
    http_bodies,
    /// Bodies not hashed because they are too long.
    http_bodies_too_long,
    /// Bodies not hashed because they are one part of something (206).
    http_bodies_partial,
    /// Bodies not hashed because bytes are missing or cannot be unpacked.
    http_bodies_broken,
    /// Bodies not hashed because streams held too much already.
    http_bodies_refused,
    /// Bodies not hashed because they grow out of measure when unpacked.
    http_bombs,
    /// Messages read in SMTP, POP3 and IMAP.
    mail_messages,
    /// Header fields of messages longer than is read.
    mail_fields_cut,
    /// Multiparts deeper inside others than is followed.
    mail_parts_too_deep,
    /// Messages with more text than is read.
    mail_text_cut,
    /// SSH key exchange offers that could not be read.
    ssh_malformed,
    /// SMB and RDP messages that could not be read.
    names_malformed,
    /// Log lines handed in.
    lines,
    /// Log lines longer than is read; the rest of each was skipped.
    lines_cut,
    /// Values seen and compared.
    sightings,
    /// Values without a normal form: names with blanks, broken URLs.
    values_odd,
    /// Values that could not be compared because the index is damaged or cannot be read; it is built anew.
    look_ups_failed,
    /// Indicators on values that were seen, silenced by an entry of the allow-list.
    silenced,
    /// Indicators on values that were seen, which were revoked.
    revoked,
    /// Sightings that matched an indicator, repeats included.
    matches,
    /// Hits given out.
    hits,
    /// Hits closed before their cooldown was over because too many were open.
    hits_closed_early,
    /// Hits lost because those that were not fetched yet took all the room for hits.
    hits_lost,
    /// Hits that their flow does not remember because too much is kept: what is seen there again in another field
    /// may give another hit.
    hits_unremembered,
    /// Hits that were the other side of a conversation reported already, or about to be.
    hits_joined,
    /// Hits that look like one conversation seen on both sides of a translation, without proof.
    hits_join_uncertain,
    /// Hits given out before their other side was waited for, because too many waited.
    hits_join_hurried,
}
