//! The words on pages: Italian first, English beside it, for every name that the store uses.

use std::fmt;

use askama::filters::HtmlSafe;
use protocol::{FlowEnd, NatEvidence, Note, Vantage};

/// A label in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// Italian.
    pub it: &'static str,
    /// English.
    pub en: &'static str,
}

/// Own words, without a character that HTML knows.
impl HtmlSafe for Label {}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <i lang=\"en\">{}</i>", self.it, self.en)
    }
}

const fn label(it: &'static str, en: &'static str) -> Label {
    Label { it, en }
}

/// A label with the class that colours it and the symbol that says the same without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    /// The words.
    pub label: Label,
    /// CSS class.
    pub class: &'static str,
    /// A symbol of its own shape.
    pub symbol: &'static str,
}

/// One entry of a menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// What the form sends.
    pub value: String,
    /// What the menu says.
    pub text: String,
    /// Whether it is chosen.
    pub chosen: bool,
}

/// Directions, in the order of menus.
pub(crate) const DIRECTIONS: [(&str, Label); 4] = [
    ("inbound", label("in entrata", "inbound")),
    ("outbound", label("in uscita", "outbound")),
    ("internal", label("interna", "internal")),
    ("transit", label("in transito", "transit")),
];

/// Kinds, in the order of menus.
pub(crate) const KINDS: [(&str, Label); 10] = [
    ("ip", label("indirizzo IP", "IP address")),
    ("domain", label("dominio", "domain")),
    ("url", label("URL", "URL")),
    ("md5", label("MD5", "MD5")),
    ("sha1", label("SHA-1", "SHA-1")),
    ("sha256", label("SHA-256", "SHA-256")),
    ("ja3", label("JA3", "JA3")),
    ("ja4", label("JA4", "JA4")),
    ("user_agent", label("user agent", "user agent")),
    ("email", label("e-mail", "e-mail")),
];

/// Severities, worst first.
pub(crate) const SEVERITIES: [(&str, Marked); 4] = [
    ("critical", Marked { label: label("critica", "critical"), class: "sev-critical", symbol: "◆" }),
    ("high", Marked { label: label("alta", "high"), class: "sev-high", symbol: "▲" }),
    ("medium", Marked { label: label("media", "medium"), class: "sev-medium", symbol: "●" }),
    ("low", Marked { label: label("bassa", "low"), class: "sev-low", symbol: "○" }),
];

/// Spans of time that the list of hits offers, with their seconds.
pub(crate) const PERIODS: [(&str, i64, Label); 4] = [
    ("1h", 3600, label("ultima ora", "last hour")),
    ("24h", 86_400, label("ultime 24 ore", "last 24 hours")),
    ("7d", 604_800, label("ultimi 7 giorni", "last 7 days")),
    ("30d", 2_592_000, label("ultimi 30 giorni", "last 30 days")),
];

/// Roles of an origin.
pub(crate) const ROLES: [(&str, Label); 2] =
    [("remote", label("remota", "remote")), ("host", label("interna", "town's own host"))];

/// Places in a flow or a line.
const PLACES: [(&str, Label); 48] = [
    ("flow.src", label("sorgente del flusso", "source of the flow")),
    ("flow.dst", label("destinazione del flusso", "destination of the flow")),
    ("dns.query", label("nome chiesto al DNS", "name asked of DNS")),
    ("dns.answer", label("risposta DNS", "DNS answer")),
    ("mdns.query", label("nome chiesto a mDNS", "name asked of mDNS")),
    ("mdns.answer", label("annuncio mDNS", "mDNS announcement")),
    ("llmnr.query", label("nome chiesto a LLMNR", "name asked of LLMNR")),
    ("llmnr.answer", label("risposta LLMNR", "LLMNR answer")),
    ("tls.sni", label("nome del server TLS", "TLS server name")),
    ("tls.sni_cut", label("nome del server TLS, messaggio incompleto", "TLS server name, message cut")),
    ("tls.ja3", label("impronta JA3 del client", "client's JA3")),
    ("tls.ja4", label("impronta JA4 del client", "client's JA4")),
    ("tls.cert", label("certificato TLS", "TLS certificate")),
    ("tls.cert_name", label("nome nel certificato TLS", "name in the TLS certificate")),
    ("dtls.cert", label("certificato DTLS", "DTLS certificate")),
    ("dtls.cert_name", label("nome nel certificato DTLS", "name in the DTLS certificate")),
    ("quic.sni", label("nome del server QUIC", "QUIC server name")),
    ("quic.sni_cut", label("nome del server QUIC, messaggio incompleto", "QUIC server name, message cut")),
    ("quic.ja3", label("impronta JA3 in QUIC", "JA3 in QUIC")),
    ("quic.ja4", label("impronta JA4 in QUIC", "JA4 in QUIC")),
    ("http.host", label("intestazione Host", "Host header")),
    ("http.url", label("richiesta HTTP", "HTTP request")),
    ("http.user_agent", label("intestazione User-Agent", "User-Agent header")),
    ("http2.host", label("autorità HTTP/2", "HTTP/2 authority")),
    ("http2.url", label("richiesta HTTP/2", "HTTP/2 request")),
    ("http2.user_agent", label("user agent HTTP/2", "HTTP/2 user agent")),
    ("http.body", label("contenuto HTTP", "HTTP body")),
    ("http.referer", label("intestazione Referer", "Referer header")),
    ("http.forwarded", label("indirizzo dichiarato da un proxy", "address named by a proxy")),
    ("smtp.from", label("mittente e-mail", "mail sender")),
    ("smtp.rcpt", label("destinatario e-mail", "mail recipient")),
    ("smtp.header", label("intestazione di un messaggio", "header of a message")),
    ("smtp.trace", label("tracce di un messaggio", "trace of a message")),
    ("smtp.url", label("URL in un messaggio", "URL in a message")),
    ("smtp.helo", label("nome con cui si presenta la posta", "name that a mail host calls itself")),
    ("ftp.url", label("file via FTP", "file by FTP")),
    ("ssh.banner", label("versione SSH", "SSH version")),
    ("ssh.hassh", label("impronta HASSH", "HASSH")),
    ("smb.name", label("nome in SMB", "name in SMB")),
    ("rdp.name", label("nome in RDP", "name in RDP")),
    ("log.src", label("sorgente nel registro", "source in a log")),
    ("log.dst", label("destinazione nel registro", "destination in a log")),
    ("log.nat", label("indirizzo tradotto nel registro", "translated address in a log")),
    ("log.text", label("testo del registro", "text of a log")),
    ("log.url", label("URL nel registro", "URL in a log")),
    ("log.domain", label("dominio nel registro", "domain in a log")),
    ("log.hash", label("impronta nel registro", "hash in a log")),
    ("log.user_agent", label("user agent nel registro", "user agent in a log")),
];

/// Why hits were lost: `gap`, and the names of `protocol::message::LossReason`.
const LOSSES: [(&str, Label); 6] = [
    ("gap", label("numeri mancanti nella sequenza", "gap in the sequence")),
    ("spool_full", label("coda del sensore piena", "sensor's spool full")),
    ("spool_damaged", label("coda del sensore danneggiata", "sensor's spool damaged")),
    ("log_truncated", label("registro troncato prima della lettura", "log truncated before it was read")),
    ("packets_dropped", label("pacchetti scartati dal kernel", "packets dropped by the kernel")),
    ("syslog_dropped", label("messaggi syslog scartati dal kernel", "syslog messages dropped by the kernel")),
];

/// What became of a bundle on a sensor.
const OUTCOMES: [(&str, Marked); 3] = [
    ("applied", Marked { label: label("in vigore", "in force"), class: "good", symbol: "✓" }),
    (
        "fetched",
        Marked { label: label("scaricata e verificata", "fetched, verified"), class: "wait", symbol: "…" },
    ),
    ("refused", Marked { label: label("rifiutata", "refused"), class: "bad", symbol: "✕" }),
];

/// The label of a direction.
pub(crate) fn direction(name: &str) -> Label {
    find(&DIRECTIONS, name).unwrap_or(OTHER)
}

/// The label of a kind; those that cover several values occur in indicators only.
pub(crate) fn kind(name: &str) -> Label {
    match name {
        "network" => label("rete", "network"),
        "ip_port" => label("indirizzo e porta", "address and port"),
        "wildcard" => label("nomi con *", "names with *"),
        "url_prefix" => label("URL sotto un percorso", "URLs below a path"),
        "user_agent_part" => label("parte di user agent", "part of a user agent"),
        "email_domain" => label("dominio e-mail", "e-mail domain"),
        _ => find(&KINDS, name).unwrap_or(OTHER),
    }
}

/// The mark of a severity; none when it is unknown.
pub(crate) fn severity(name: Option<&str>) -> Option<Marked> {
    find(&SEVERITIES, name?)
}

/// The label of a place.
pub(crate) fn place(name: &str) -> Label {
    find(&PLACES, name).unwrap_or(OTHER)
}

/// The label of a role.
pub(crate) fn role(name: &str) -> Label {
    find(&ROLES, name).unwrap_or(OTHER)
}

/// The label of a reason of loss.
pub(crate) fn loss(name: &str) -> Label {
    find(&LOSSES, name).unwrap_or(OTHER)
}

/// The mark of a bundle's outcome; none when the sensor said nothing.
pub(crate) fn outcome(name: &str) -> Option<Marked> {
    find(&OUTCOMES, name)
}

/// Signs that two machines use one sensor's identity.
const TWIN_SIGNS: [(&str, Label); 3] = [
    ("two_connections", label("due macchine collegate insieme", "two machines connected at once")),
    (
        "epoch_came_back",
        label("è tornato uno stato precedente del sensore", "an earlier state of the sensor came back"),
    ),
    (
        "old_certificate",
        label(
            "è stato mostrato un certificato già sostituito",
            "a certificate was shown that had been replaced",
        ),
    ),
];

/// The label of a sign that two machines use one sensor's identity.
pub(crate) fn twin_sign(name: &str) -> Label {
    find(&TWIN_SIGNS, name).unwrap_or(OTHER)
}

/// The label of a kind of source.
pub(crate) fn source(name: &str) -> Label {
    match name {
        "capture" => label("cattura", "capture"),
        "log" => label("registro", "log"),
        "journal" => label("journal di systemd", "systemd's journal"),
        "syslog" => label("syslog di un apparato", "syslog of a device"),
        "listen" => label("ricezione syslog", "reception of syslog"),
        _ => OTHER,
    }
}

/// What a note says to the person who judges a hit.
pub(crate) fn note(note: Note) -> Label {
    match note {
        Note::EchOffered => label(
            "Il client ha offerto un nome cifrato (ECH): il nome visto può essere solo quello del fornitore che nasconde \
             quello vero. I browser lo offrono anche a vuoto.",
            "The client offered an encrypted name (ECH): the name seen may only be that of the operator that hides the \
             real one. Browsers also offer it without meaning.",
        ),
        Note::SegmentsDiffer => label(
            "Gli stessi byte sono stati inviati di nuovo con altro contenuto: forse qualcuno vuole ingannare i sensori.",
            "The same bytes were sent again with other contents: somebody may be deceiving sensors.",
        ),
        Note::FragmentsOverlap => label(
            "I frammenti del pacchetto si sovrappongono: può essere un tentativo di eludere i controlli.",
            "Fragments of the packet overlap: it may be an attempt to evade inspection.",
        ),
        Note::NatUncertain => label(
            "Forse la stessa conversazione è stata vista sui due lati della traduzione: sono tenuti entrambi i riscontri.",
            "The same conversation may have been seen on both sides of the translation: both hits are kept.",
        ),
        Note::Midstream => label(
            "L’inizio della connessione non è stato visto: chi ha iniziato è un’ipotesi.",
            "The start of the connection was not seen: who began is a guess.",
        ),
        Note::OriginMasked => label(
            "L’origine è nascosta da un proxy, una traduzione o una VPN: l’indirizzo visto è interno o condiviso.",
            "The origin is hidden behind a proxy, a translation or a VPN: the address seen is internal or shared.",
        ),
        Note::Other => label(
            "Una nota di un sensore più recente di questa console: vedere il record completo.",
            "A note of a sensor that is newer than this console: see the whole record.",
        ),
    }
}

/// Why a flow is over.
pub(crate) fn flow_end(end: FlowEnd) -> Label {
    match end {
        FlowEnd::Closed => label("chiuso da entrambe le parti", "closed by both ends"),
        FlowEnd::Reset => label("interrotto (RST)", "reset"),
        FlowEnd::Idle => label("silenzio prolungato", "long silence"),
        FlowEnd::Replaced => label("sostituito da una nuova connessione", "replaced by a new connection"),
        FlowEnd::Evicted => {
            label("dimenticato: memoria del sensore piena", "forgotten: sensor's memory full")
        }
        FlowEnd::InputEnded => label("il sensore si è fermato", "the sensor stopped"),
        FlowEnd::Other => OTHER,
    }
}

/// On which side of a translation a conversation was seen.
pub(crate) fn vantage(vantage: Vantage) -> Label {
    match vantage {
        Vantage::Inside => label("dal lato interno", "from the inside"),
        Vantage::Outside => label("dal lato esterno", "from the outside"),
        Vantage::Both => label("da entrambi i lati", "from both sides"),
    }
}

/// What says that two flows are one conversation.
pub(crate) fn nat_evidence(by: NatEvidence) -> Label {
    match by {
        NatEvidence::Conntrack => {
            label("tabella delle connessioni del gateway", "gateway's connection tracking")
        }
        NatEvidence::Log => label("riga di log del firewall", "line of the firewall's log"),
        NatEvidence::TimeAndTuple => {
            label("tempo, interlocutore e contenuto coincidenti", "same time, remote end and contents")
        }
    }
}

const OTHER: Label = label("altro", "other");

fn find<T: Copy>(words: &[(&str, T)], name: &str) -> Option<T> {
    words.iter().find(|(known, _)| *known == name).map(|(_, word)| *word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_protocol_has_its_words() {
        for kind_known in protocol::LookFor::KINDS {
            assert_ne!(kind(kind_known), OTHER, "{kind_known}");
        }
        for severity_known in protocol::Severity::ALL {
            assert!(severity(Some(severity_known.as_str())).is_some());
        }
        use protocol::Direction::{Inbound, Internal, Outbound, Transit};
        for direction_known in [Inbound, Outbound, Internal, Transit] {
            assert_ne!(direction(direction_known.as_str()), OTHER);
        }
        for place_known in protocol::SeenIn::ALL {
            assert_ne!(place(place_known.as_str()), OTHER, "{}", place_known.as_str());
        }
        assert_eq!(PLACES.len(), protocol::SeenIn::ALL.len());
    }

    #[test]
    fn a_label_is_italian_then_english() {
        assert_eq!(direction("inbound").to_string(), "in entrata <i lang=\"en\">inbound</i>");
        assert_eq!(direction("sideways"), OTHER);
    }
}
