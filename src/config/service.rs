//! Sections `http` and `log`: how the process shows itself.

use super::problem::Problems;
use super::setting::{choice, empty_section, section};

section! {
    /// Metrics, health and status over HTTP. There is no login: keep it on the loop-back address or behind something that has one.
    Http {
        /// Address and port to listen on, or `off`. Port 0 takes a free one, which is logged.
        address: String = "127.0.0.1:9080".into();
    }
}

section! {
    /// Log output, on standard error.
    Log {
        /// Lines for people, or one JSON object per line.
        format: LogFormat = LogFormat::Text;
        /// `error`, `warn`, `info`, `debug`, `trace`, or a list such as `info,tidelock_connect=debug`.
        level: String = "info".into();
    }
}

choice! {
    /// Shape of a log line.
    LogFormat {
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

empty_section!(Http Log);

impl Http {
    /// Where to listen; `None` when switched off.
    pub(crate) fn listen(&self) -> Option<std::net::SocketAddr> {
        self.address.parse().ok()
    }

    /// Checks what types cannot say.
    pub(super) fn validate(&self, problems: &mut Problems) {
        if self.address != "off" && self.listen().is_none() {
            problems.add("http.address", "must be `ip:port`, as in 127.0.0.1:9080 or [::]:9080, or `off`");
        }
    }
}

impl Log {
    /// Checks what types cannot say.
    pub(super) fn validate(&self, problems: &mut Problems) {
        if let Err(error) = crate::logging::levels(&self.level) {
            problems.add("log.level", format!("is no level and no list of levels: {error}"));
        }
    }
}
