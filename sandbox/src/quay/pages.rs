//! The HTML pages: recorded ones, and a long one of which the start and the length are recorded.

use super::Version;
use crate::http::Reply;

const FLASK_HTML: &str = "text/html; charset=utf-8";

pub(crate) fn internal_server_error() -> Reply {
    Reply::new(500, "text/html", include_str!("../pages/internal_server_error.html"))
}

pub(crate) fn quay_loading() -> Reply {
    Reply::new(502, "text/html", include_str!("../pages/quay_loading.html"))
}

pub(crate) fn gateway_timeout() -> Reply {
    Reply::new(504, "text/html", include_str!("../pages/gateway_timeout.html"))
}

pub(crate) fn header_too_large() -> Reply {
    Reply::new(400, "text/html", include_str!("../pages/header_too_large.html"))
}

pub(crate) fn method_not_allowed() -> Reply {
    Reply::new(405, FLASK_HTML, include_str!("../pages/method_not_allowed.html"))
}

pub(crate) fn redirect(url: &str) -> Reply {
    let body = format!(
        "<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n\
         <h1>Redirecting...</h1>\n<p>You should be redirected automatically to the target URL: \
         <a href=\"{url}\">{url}</a>. If not, click the link.\n"
    );
    Reply::new(308, FLASK_HTML, body).with("Location", url)
}

/// The web interface's page, with its real length: it is what a client must not read whole.
pub(crate) fn not_found(version: Version) -> Reply {
    let characters = match version {
        Version::V3_12 => 77_127,
        _ => 68_748,
    };
    let start = include_str!("../pages/not_found_start.html");
    let filler = characters - start.chars().count();
    Reply::new(404, FLASK_HTML, format!("{start}{}", "x".repeat(filler)))
}
