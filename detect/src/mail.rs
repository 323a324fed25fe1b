//! Mail on its way: SMTP between programs, POP3 and IMAP to people. Each reader frames messages; one reads them.

mod address;
pub(crate) mod imap;
mod message;
pub(crate) mod pop3;
pub(crate) mod smtp;
mod text;
