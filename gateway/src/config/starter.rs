//! The configuration that `casement init` writes: what this machine and its owner need, and nothing else. Pure.

use crate::renewal::names;
use std::fmt::Write;

/// What is known about a gateway that is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Starter {
    /// Where everything is kept.
    pub data_dir: String,
    /// Addresses for plain HTTP.
    pub http: Vec<String>,
    /// Addresses for HTTPS.
    pub https: Vec<String>,
    /// The name, or none for this machine's public addresses.
    pub name: Option<String>,
    /// Whom the authority may write to, with or without `mailto:`.
    pub contact: Option<String>,
    /// Another authority than Let's Encrypt.
    pub directory: Option<String>,
    /// PEM to trust for that directory.
    pub ca_bundle: Option<String>,
    /// IANA name of the machine's time zone.
    pub time_zone: Option<String>,
}

impl Starter {
    /// Whether no authority will ever vouch for the name, and the gateway has to do so itself.
    pub fn is_for_itself(&self) -> bool {
        let private = self.directory.is_none() && self.ca_bundle.is_none();
        private && self.name.as_deref().is_some_and(names::is_private)
    }

    /// The file: at most twelve lines unless there is more to say than a name and a contact.
    pub fn text(&self) -> String {
        let mut text = "# Every key: casement.example.toml. After a change: casement check\n".to_owned();
        let list = |items: &[String]| {
            let quoted: Vec<String> = items.iter().map(|item| quote(item)).collect();
            format!("[{}]", quoted.join(", "))
        };
        let mut line = |key: &str, value: &str| {
            let _infallible = writeln!(text, "{key} = {value}");
        };
        line("data_dir", &quote(&self.data_dir));
        // Dotted keys need no headings: one line says where it belongs.
        line("listen.http", &list(&self.http));
        line("listen.https", &list(&self.https));
        line("tls.source", if self.is_for_itself() { "\"self-signed\"" } else { "\"acme\"" });
        line("tls.names", &list(self.name.as_slice()));
        if let Some(directory) = &self.directory {
            line("tls.acme.directory", &quote(directory));
        }
        if let Some(bundle) = &self.ca_bundle {
            line("tls.acme.ca_bundle", &quote(bundle));
        }
        if let Some(contact) = self.contact.as_ref().filter(|_| !self.is_for_itself()) {
            let scheme = if contact.starts_with("mailto:") { "" } else { "mailto:" };
            line("tls.acme.contact", &quote(&format!("{scheme}{contact}")));
        }
        line("access.dashboard", "\"private\"");
        if let Some(zone) = &self.time_zone {
            line("site.time_zone", &quote(zone));
        }
        text
    }
}

/// A TOML string (<https://toml.io/en/v1.0.0#string>), whatever is in it.
fn quote(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                let _infallible = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TlsSource, parse};

    fn starter() -> Starter {
        Starter {
            data_dir: "/var/lib/casement".to_owned(),
            http: vec!["[::]:80".to_owned()],
            https: vec!["[::]:443".to_owned()],
            name: Some("air.example.org".to_owned()),
            contact: Some("me@example.org".to_owned()),
            time_zone: Some("Europe/Brussels".to_owned()),
            ..Starter::default()
        }
    }

    #[test]
    fn it_is_short_and_says_what_was_meant() {
        let text = starter().text();
        assert!(text.lines().count() <= 12, "{text}");
        let (config, warnings) = parse(None, &text, &[]).unwrap();
        assert!(warnings.is_empty());
        assert_eq!(config.data_dir.to_str(), Some("/var/lib/casement"));
        assert_eq!((config.listen.http[0].port(), config.listen.https[0].port()), (80, 443));
        assert_eq!(config.tls.names, ["air.example.org"]);
        assert_eq!(config.site.zone_name, "Europe/Brussels");
        assert!(!config.dashboard_public);
        let TlsSource::Acme(acme) = config.tls.source else { panic!("{text}") };
        assert_eq!(acme.contact, "mailto:me@example.org");
        assert!(acme.directory.contains("letsencrypt.org"));
    }

    #[test]
    fn without_a_name_it_is_for_the_machine_s_addresses() {
        let (config, _) = parse(None, &Starter { name: None, ..starter() }.text(), &[]).unwrap();
        assert!(config.tls.names.is_empty() && matches!(config.tls.source, TlsSource::Acme(_)));
        let six = Starter { name: Some("2001:db8::1".to_owned()), ..starter() };
        assert_eq!(parse(None, &six.text(), &[]).unwrap().0.tls.names, ["2001:db8::1"]);
    }

    #[test]
    fn a_name_of_one_s_own_network_gets_a_certificate_made_here() {
        for (name, own) in [
            ("pi.local", true),
            ("gateway", true),
            ("192.168.1.20", true),
            ("fd00::1", true),
            ("air.example.org", false),
            ("34.12.8.7", false),
        ] {
            let starter = Starter { name: Some(name.to_owned()), ..starter() };
            let (config, _) = parse(None, &starter.text(), &[]).unwrap();
            assert_eq!(matches!(config.tls.source, TlsSource::SelfSigned), own, "{name}");
            // An authority of one's own may know it.
            let private = Starter { ca_bundle: Some("/etc/ca.pem".to_owned()), ..starter };
            assert!(!private.is_for_itself());
        }
    }

    #[test]
    fn whatever_is_put_in_stays_in_its_string() {
        for odd in ["a\"b", "a\\", "x\"\nlisten.https = []\n\"", "\u{1b}[2J", "ü"] {
            let text = Starter { data_dir: odd.to_owned(), ..starter() }.text();
            let (config, _) = parse(None, &text, &[]).unwrap_or_else(|bad| panic!("{text}: {bad:?}"));
            assert_eq!(config.data_dir.to_str(), Some(odd));
        }
    }
}
