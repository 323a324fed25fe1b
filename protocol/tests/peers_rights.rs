//! What each side may say to each other, in full. No message lets a peer configure a sensor or make it run anything:
//! who adds one, or a field to one, has to change this list, and think.

use vedetta_protocol::enrolment::{EnrolReply, EnrolRequest};
use vedetta_protocol::message::{
    AgentMessage, CollectorMessage, DeskMessage, FetchReply, FetchRequest, PushReply,
};

/// Says every variant with all its fields; a variant or a field that is missing here does not compile.
macro_rules! all_of {
    ($type:ident { $($variant:ident { $($field:ident),* }),* $(,)? }) => {{
        let _exhaustive = |message: $type| match message { $($type::$variant { $($field: _),* } => {})* };
        vec![$(concat!(stringify!($variant), " ", $(stringify!($field), " "),*).trim_end()),*]
    }};
}

#[test]
fn a_collector_tells_a_sensor_nothing_but_answers_and_offers() {
    let session = all_of!(CollectorMessage {
        Welcome { protocol, now, stored, credit, capabilities },
        Ack { up_to },
        BundleAvailable { serial },
        RetryAfter { seconds, reason },
        Renewed { chain_pem },
        RenewalRefused { reason },
        Unknown {},
    });
    assert_eq!(
        session,
        [
            "Welcome protocol now stored credit capabilities",
            "Ack up_to",
            "BundleAvailable serial",
            "RetryAfter seconds reason",
            "Renewed chain_pem",
            "RenewalRefused reason",
            "Unknown",
        ]
    );
    let fetch = all_of!(FetchReply { Found { bytes }, NotFound {}, Unknown {} });
    assert_eq!(fetch, ["Found bytes", "NotFound", "Unknown"]);
    let enrolment = all_of!(EnrolReply {
        Enrolled { agent, comune, chain_pem, addresses, cosc_root },
        Refused { reason },
        Unknown {},
    });
    assert_eq!(
        enrolment,
        ["Enrolled agent comune chain_pem addresses cosc_root", "Refused reason", "Unknown"]
    );
}

#[test]
fn a_sensor_tells_a_collector_of_itself_only() {
    let session = all_of!(AgentMessage {
        Hello { protocol, version, epoch, oldest, now, bundle, capabilities },
        Batch { first, records },
        Status { at, bundle, spooled, sources, fresh_until },
        Bundle { serial, outcome },
        Renew { request_pem },
        Unknown {},
    });
    assert_eq!(
        session,
        [
            "Hello protocol version epoch oldest now bundle capabilities",
            "Batch first records",
            "Status at bundle spooled sources fresh_until",
            "Bundle serial outcome",
            "Renew request_pem",
            "Unknown",
        ]
    );
    let _every_field = |request: FetchRequest| {
        let FetchRequest { path: _, offset: _ } = request;
    };
    let _every_field = |request: EnrolRequest| {
        let EnrolRequest { secret: _, request_pem: _, host_name: _, version: _ } = request;
    };
}

#[test]
fn a_desk_brings_signed_files_and_hears_what_became_of_them() {
    let push = all_of!(DeskMessage { Offer { files, rollout }, Chunk { bytes }, Unknown {} });
    assert_eq!(push, ["Offer files rollout", "Chunk bytes", "Unknown"]);
    let reply = all_of!(PushReply {
        Want { paths },
        Accepted { serial, indicators, connected },
        Refused { reason },
        Progress { comune, agent, serial, outcome },
        Rollout { serial, state },
        Unknown {},
    });
    let names = [
        "Want paths",
        "Accepted serial indicators connected",
        "Refused reason",
        "Progress comune agent serial outcome",
        "Rollout serial state",
        "Unknown",
    ];
    assert_eq!(reply, names);
}
