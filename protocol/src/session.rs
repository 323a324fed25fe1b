//! Both ends of the hit session as pure state machines: messages and time in, messages and events out.
//!
//! `(agent, epoch, sequence)` makes a repeat harmless for ever: the collector acknowledges after its commit,
//! the agent deletes after the acknowledgement, and a new connection resumes at what is committed.

mod agent_end;
mod collector_end;
#[cfg(test)]
mod session_tests;

pub use agent_end::{AgentEvent, AgentHello, AgentSession, Wanted};
pub use collector_end::{CollectorEvent, CollectorSession, SessionLimits};

/// What the other end did against the protocol; the connection is closed with this as its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// A message that needs a greeting came before it, or a second greeting came.
    #[error("{message} out of turn")]
    OutOfTurn {
        /// Which message.
        message: &'static str,
    },
    /// No version is spoken by both.
    #[error("the other end speaks only protocol version {theirs}; update the older program")]
    Version {
        /// Theirs.
        theirs: u32,
    },
    /// More unacknowledged batches, or more records in one, than allowed.
    #[error("more than was allowed: {what}")]
    OverLimit {
        /// Of what.
        what: &'static str,
    },
    /// An acknowledgement of records that were never sent.
    #[error("acknowledgement of {up_to}, but only {sent} were sent")]
    AckBeyondSent {
        /// Acknowledged.
        up_to: u64,
        /// Sent.
        sent: u64,
    },
    /// A sequence that breaks the order within a connection.
    #[error("batch begins at {first}, expected {expected}")]
    Sequence {
        /// Announced.
        first: u64,
        /// Expected.
        expected: u64,
    },
}
