//! `casement check`: every problem of the configuration, or what is in force.

use super::{Context, Done, out, say};
use crate::config::{Loaded, TlsSource};

pub(super) fn check(context: &Context) -> Done {
    let Loaded { config, file, warnings } = context.load()?;
    for warning in &warnings {
        say(&format!("warning: {warning}"));
    }
    let place = file.map_or_else(|| "the defaults".to_owned(), |file| file.display().to_string());
    say(&format!("{place}: the configuration is good"));
    let addresses = |list: &[std::net::SocketAddr]| {
        let quoted: Vec<String> = list.iter().map(|address| format!("\"{address}\"")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let source = match &config.tls.source {
        TlsSource::Acme(_) => "acme",
        TlsSource::SelfSigned => "self-signed",
        TlsSource::Files { .. } => "files",
    };
    let mut text = format!(
        "data_dir = {:?}\n[listen]\nhttp = {}\nhttps = {}\n[tls]\nsource = \"{source}\"\nnames = {:?}\n",
        config.data_dir,
        addresses(&config.listen.http),
        addresses(&config.listen.https),
        config.tls.names
    );
    if let TlsSource::Files { cert, key } = &config.tls.source {
        text.push_str(&format!("[tls.files]\ncert = {cert:?}\nkey = {key:?}\n"));
    }
    let dashboard = if config.dashboard_public { "public" } else { "private" };
    text.push_str(&format!(
        "[access]\ndashboard = \"{dashboard}\"\n[store]\nurl = {:?}\n[site]\nname = {:?}\ntime_zone = {:?}\nbands = {:?}\n",
        without_password(&config.store_url),
        config.site.name,
        config.site.zone_name,
        config.site.bands.id
    ));
    out(&text)
}

/// A store's URL may carry a password; it is not printed.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}:***@{host}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_store_s_url_is_not_printed() {
        assert_eq!(without_password("postgres://me:se@cret@db/x"), "postgres://me:***@db/x");
        assert_eq!(without_password("sqlite:casement.db"), "sqlite:casement.db");
    }
}
