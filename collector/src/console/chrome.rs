//! What surrounds every page: who is signed in, the menu, and the page as a response.

use askama::Template;
use axum::response::{Html, IntoResponse as _, Response};

use super::fault::Fault;
use super::session::Session;
use super::words::Label;

/// Where in the menu a page belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    Hits,
    Origins,
    Towns,
    Bundles,
    Nowhere,
}

/// The surroundings of a page.
pub(super) struct Chrome {
    pub(super) signed: Option<Signed>,
    here: Here,
}

/// Who is signed in, and the token for the forms.
pub(super) struct Signed {
    pub(super) operator: String,
    pub(super) csrf: String,
}

/// One entry of the menu.
pub(super) struct Entry {
    pub(super) href: &'static str,
    pub(super) label: Label,
    pub(super) here: bool,
}

impl Chrome {
    /// Around a page of a signed-in operator.
    pub(super) fn of(session: &Session, here: Here) -> Self {
        let signed = Signed { operator: session.operator.clone(), csrf: session.csrf_token.clone() };
        Self { signed: Some(signed), here }
    }

    /// Around a page for anybody.
    pub(super) fn for_anybody() -> Self {
        Self { signed: None, here: Here::Nowhere }
    }

    pub(super) fn menu(&self) -> [Entry; 4] {
        let entry = |href, here, it, en| Entry { href, label: Label { it, en }, here: self.here == here };
        [
            entry("/hits", Here::Hits, "Riscontri", "Hits"),
            entry("/origins", Here::Origins, "Origini", "Origins"),
            entry("/towns", Here::Towns, "Comuni e sensori", "Towns"),
            entry("/bundles", Here::Bundles, "Raccolte", "Bundles"),
        ]
    }
}

/// A template as a response.
pub(super) fn html(page: &impl Template) -> Result<Response, Fault> {
    Ok(Html(page.render()?).into_response())
}
