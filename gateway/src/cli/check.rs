//! `casement check`: every problem of the configuration, or what is in force.

use super::{BAD_CONFIG, Context, Done, Failure, out, say};
use crate::config::{Config, Loaded, TlsSource};
use crate::tls::pair::Pair;
use crate::{clock, disk, keeper, store};

pub(super) fn check(context: &Context) -> Done {
    let Loaded { config, file, warnings } = context.load()?;
    for warning in &warnings {
        say(&format!("warning: {warning}"));
    }
    let problems = unusable(&config);
    if !problems.is_empty() {
        return Err(Failure {
            code: BAD_CONFIG,
            what: format!("the configuration names files that cannot be used\n{}", problems.join("\n")),
            fix: "mend the lines above; `casement check` looks again".to_owned(),
        });
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
    match &config.tls.source {
        TlsSource::SelfSigned => {}
        TlsSource::Files { cert, key } => {
            text.push_str(&format!("[tls.files]\ncert = {cert:?}\nkey = {key:?}\n"));
        }
        TlsSource::Acme(acme) => {
            let challenge = acme.challenge.map_or("auto", |challenge| challenge.name());
            text.push_str(&format!(
                "[tls.acme]\ndirectory = {:?}\ncontact = {:?}\nchallenge = {challenge:?}\nprofile = {:?}\n",
                acme.directory, acme.contact, acme.profile
            ));
            if let Some(file) = &acme.ca_bundle {
                text.push_str(&format!("ca_bundle = {file:?}\n"));
            }
            if let Some((kid, file)) = &acme.binding {
                text.push_str(&format!("eab_kid = {kid:?}\neab_hmac_file = {file:?}\n"));
            }
        }
    }
    let dashboard = if config.dashboard_public { "public" } else { "private" };
    text.push_str(&format!(
        "[access]\ndashboard = \"{dashboard}\"\n[store]\nurl = {:?}\n[backup]\nevery = {:?}\nkeep = {}\nfolder = {:?}\n[site]\nname = {:?}\ntime_zone = {:?}\nbands = {:?}\n",
        store::without_password(&config.store_url),
        config.backups.every_ms.map_or_else(|| "off".to_owned(), |ms| format!("{}s", ms / 1000)),
        config.backups.keep,
        config.backups.folder,
        config.site.name,
        config.site.zone_name,
        config.site.bands.id
    ));
    out(&text)
}

/// What the configuration points to and cannot be used; doubts about a certificate are told on the way.
fn unusable(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let folder = &config.backups.folder;
    let there = folder.ancestors().find(|above| above.exists());
    if let Some(above) = there.filter(|above| config.backups.every_ms.is_some() && !above.is_dir()) {
        problems.push(format!(
            "backup.folder: {} cannot be made: {} is not a folder",
            folder.display(),
            above.display()
        ));
    }
    match &config.tls.source {
        TlsSource::SelfSigned => {}
        TlsSource::Files { cert, key } => match Pair::from_files(cert, key) {
            Ok(pair) => {
                for doubt in
                    keeper::doubts(&pair, &config.tls.names, clock::now_ms()).iter().chain(&pair.oddities)
                {
                    say(&format!("warning: tls.files: {doubt}"));
                }
            }
            Err(error) => problems.push(format!("tls.files: {error}")),
        },
        TlsSource::Acme(acme) => {
            let binding = acme.binding.as_ref().map(|(_, file)| ("tls.acme.eab_hmac_file", file));
            let bundle = acme.ca_bundle.as_ref().map(|file| ("tls.acme.ca_bundle", file));
            for (key, file) in binding.into_iter().chain(bundle) {
                if std::fs::File::open(file).is_err() {
                    problems.push(format!(
                        "{key}: {} cannot be read: {}",
                        file.display(),
                        disk::why_unreadable(file)
                    ));
                }
            }
        }
    }
    problems
}
