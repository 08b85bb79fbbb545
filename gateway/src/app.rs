//! Composition: configuration → running gateway. The one file that knows everybody.

use crate::access::Access;
use crate::config::{Config, Sources};
use crate::desk::{Budget, Desk, Settings, Things};
use crate::disk::{Holder, Lock, LockError};
use crate::doctor::checkup::Checkup;
use crate::edge::{Bound, ListenError, Passed};
use crate::intake::{Intake, Writer};
use crate::keeper::Keeper;
use crate::live::Live;
use crate::observe::Counters;
use crate::releases::Releases;
use crate::updates::Updates;
use crate::{api, backup, clock, disk, store, web};
use anyhow::Context;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often presence is looked at.
const PRESENCE_EVERY: Duration = Duration::from_secs(2);

/// How often the store is looked at for what other processes did.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// A gateway that is ready to run.
pub struct App {
    config: Config,
    desk: Desk,
    writer: Writer,
    keeper: Keeper,
    bound: Bound,
    lock: Lock,
    current: watch::Sender<Config>,
    shutdown: CancellationToken,
}

/// Where a gateway listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Vec<SocketAddr>,
}

impl App {
    /// Opens the store, reads or makes the certificate, and binds the listeners that were not `passed`. Nothing is answered
    /// yet.
    ///
    /// # Errors
    /// What could not be opened, and why.
    pub async fn build(config: Config, passed: Passed, shutdown: CancellationToken) -> anyhow::Result<Self> {
        disk::private_dir(&config.data_dir).with_context(|| {
            format!(
                "the data folder {} cannot be made; set data_dir to one this user may write",
                config.data_dir.display()
            )
        })?;
        let mut lock = sole(&config)?;
        let bound = bind(&config, passed)?;
        let counters = Arc::new(Counters::default());
        let keeper = keeper(&config, &bound, &counters, &mut lock)?;
        leave_a_way_back(&config).await?;
        let store = store::open(&config.store_url, &config.data_dir).await.with_context(|| {
            format!("the store {} cannot be opened", store::without_password(&config.store_url))
        })?;
        store.keep(config.retention.clone());
        let live = Arc::new(Live::new(config.site.bands));
        let (intake, writer) = Intake::new(Arc::clone(&store), Arc::clone(&live), Arc::clone(&counters));
        writer.learn().await.context("the store cannot be read")?;
        let current = watch::Sender::new(config.clone());
        let desk = Desk::from(Things {
            intake,
            access: Arc::new(Access::new(Arc::clone(&store))),
            checkup: Checkup::new(current.subscribe(), Arc::clone(&store)),
            store,
            live,
            settings: Arc::new(ArcSwap::from_pointee(settings(&config))),
            counters,
            budget: Budget::default(),
            keeper: keeper.clone(),
            releases: Releases::of(&config.data_dir),
            updates: Arc::new(Updates::open(&config.data_dir)),
            shutdown: shutdown.clone(),
        });
        Ok(Self { config, desk, writer, keeper, bound, lock, current, shutdown })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        Addresses { http: self.bound.http(), https: self.bound.https() }
    }

    /// A way to read the configuration again.
    pub fn reloader(&self, sources: Sources) -> Reloader {
        Reloader {
            sources,
            running: self.config.clone(),
            desk: self.desk.clone(),
            keeper: self.keeper.clone(),
            current: self.current.clone(),
        }
    }

    /// Runs until `shutdown`, then drains: requests, then the queue, then the store.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub async fn run(self) -> anyhow::Result<()> {
        let certificates = self.keeper.certificates();
        let tls = certificates.https(self.config.tls.short_device_chain)?;
        let router = api::router(self.desk.clone()).merge(web::router(self.desk.clone()));
        let router = web::behind_the_door(router, self.desk.clone());

        // The job table: everything that runs beside the listeners.
        let jobs = TaskTracker::new();
        let closing = CancellationToken::new();
        let writer = jobs.spawn(self.writer.run(closing.clone()));
        jobs.spawn(watch_presence(self.desk.clone(), self.shutdown.clone()));
        jobs.spawn(follow(self.desk.clone(), self.shutdown.clone()));
        jobs.spawn(self.keeper.run(self.shutdown.clone()));
        let counters = self.desk.counters.backup.clone();
        jobs.spawn(backup::routine::run(self.current.subscribe(), counters, self.shutdown.clone()));
        jobs.spawn(Arc::clone(&self.desk.updates).run(closing.clone()));
        jobs.close();

        self.bound.run(tls, certificates, router, Arc::clone(&self.desk.counters), self.shutdown).await;
        closing.cancel();
        jobs.wait().await;
        if let Err(panic) = writer.await {
            tracing::error!(%panic, "the writer ended badly");
        }
        self.desk.store.close().await;
        // The folder is ours until nothing writes to it any more.
        drop(self.lock);
        Ok(())
    }
}

/// The listeners and the keeper of the certificate, without readings and pages: for an order while no gateway runs.
pub struct Door {
    /// Keeps the certificate.
    pub keeper: Keeper,
    jobs: TaskTracker,
    shutdown: CancellationToken,
    lock: Lock,
}

impl Door {
    /// Opens it. Requests are answered with 503.
    ///
    /// # Errors
    /// What could not be opened, and why.
    pub async fn open(config: &Config, mut lock: Lock) -> anyhow::Result<Self> {
        let bound = bind(config, Passed::default())?;
        let counters = Arc::new(Counters::default());
        let keeper = keeper(config, &bound, &counters, &mut lock)?;
        let certificates = keeper.certificates();
        let tls = certificates.https(config.tls.short_device_chain)?;
        let shutdown = CancellationToken::new();
        let jobs = TaskTracker::new();
        jobs.spawn(bound.run(tls, certificates, web::closed(), counters, shutdown.clone()));
        jobs.spawn(keeper.clone().run(shutdown.clone()));
        jobs.close();
        Ok(Self { keeper, jobs, shutdown, lock })
    }

    /// Closes it.
    pub async fn close(self) {
        self.shutdown.cancel();
        self.jobs.wait().await;
        drop(self.lock);
    }
}

fn bind(config: &Config, passed: Passed) -> anyhow::Result<Bound> {
    Bound::bind(&config.listen.http, &config.listen.https, passed).map_err(|error| match error {
        ListenError::Address(address, error) => anyhow::Error::new(error).context(format!(
            "{address} cannot be listened at; is another program there, does systemd hold it for the service (casement-http.socket, casement-https.socket), or may this user not use that port? Set listen.http and listen.https"
        )),
        ListenError::Passed(error) => anyhow::Error::new(error).context(
            "what the service manager passes cannot be used; give each socket unit FileDescriptorName=http or https, and TCP addresses",
        ),
    })
}

/// Makes a backup of a store whose layout is about to change.
async fn leave_a_way_back(config: &Config) -> anyhow::Result<()> {
    let way = backup::before_a_change(config, clock::now_ms(), &backup::Job::new(|_, _, _| {}))
        .await
        .map_err(|trouble| {
            let fix = trouble.fix();
            anyhow::Error::new(trouble).context(format!(
                "the store has an older layout, and no backup of it could be made before changing it; nothing was changed. {fix}"
            ))
        })?;
    if let Some(way) = way {
        tracing::info!(
            file = %way.file.display(),
            "the store goes from layout {} to {}; as it was it is kept for 30 days, and docs/upgrading.md says how to go back",
            way.from,
            way.to
        );
    }
    Ok(())
}

/// Tells others where the gateway listens, and finds the certificate to begin with.
fn keeper(config: &Config, bound: &Bound, counters: &Counters, lock: &mut Lock) -> anyhow::Result<Keeper> {
    let holder = Holder { pid: std::process::id(), https: bound.https(), http: bound.http() };
    if let Err(error) = lock.tell(Some(&holder)) {
        tracing::warn!(%error, "{} could not be written", config.lock_file().display());
    }
    let counters = counters.certificate.clone();
    Ok(Keeper::open(config, &holder.http, &holder.https, counters, clock::now_ms())?)
}

/// Makes sure that nobody else keeps their data in the same folder.
fn sole(config: &Config) -> anyhow::Result<Lock> {
    let file = config.lock_file();
    match Lock::take(&file) {
        Ok(lock) => Ok(lock),
        Err(LockError::Held(holder)) => {
            let who = holder
                .map_or_else(|| "another process".to_owned(), |holder| format!("process {}", holder.pid));
            anyhow::bail!(
                "{} is in use by {who}, a running gateway; stop it first, or give this one a data_dir of its own",
                config.data_dir.display()
            )
        }
        Err(LockError::Unusable(error)) => Err(anyhow::Error::new(error)
            .context(format!("{} cannot be used; may this user write data_dir?", file.display()))),
    }
}

fn settings(config: &Config) -> Settings {
    Settings { public: config.dashboard_public, site: config.site.clone() }
}

async fn watch_presence(desk: Desk, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(PRESENCE_EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {
                let online = desk.live.watch_presence(clock::now_ms());
                desk.counters.devices_online.set(i64::try_from(online).unwrap_or(i64::MAX));
            }
        }
    }
}

async fn follow(desk: Desk, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(FOLLOW_EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => desk.intake.follow(),
        }
    }
}

/// Reads the configuration again while the gateway runs.
pub struct Reloader {
    sources: Sources,
    running: Config,
    desk: Desk,
    keeper: Keeper,
    current: watch::Sender<Config>,
}

impl Reloader {
    /// Takes over what may change while running: who may read, the place, the certificate. A bad configuration is
    /// reported and the running one stays.
    pub fn reload(&self) {
        let loaded = match self.sources.load() {
            Ok(loaded) => loaded,
            Err(bad) => {
                for problem in &bad.problems {
                    tracing::error!("{problem}");
                }
                tracing::error!("the configuration was not reloaded; the running one stays");
                return;
            }
        };
        let new = loaded.config;
        for (key, differs) in [
            ("data_dir", new.data_dir != self.running.data_dir),
            ("listen", new.listen != self.running.listen),
            ("store.url", new.store_url != self.running.store_url),
            ("tls.device_chain", new.tls.short_device_chain != self.running.tls.short_device_chain),
        ] {
            if differs {
                tracing::warn!("{key} has changed; that takes effect after a restart");
            }
        }
        self.keeper.reload(&new);
        self.desk.store.keep(new.retention.clone());
        self.desk.live.judge_by(new.site.bands);
        // Where the store is does not change before a restart, whatever the file says.
        let (data_dir, store_url) = (self.running.data_dir.clone(), self.running.store_url.clone());
        self.current.send_replace(Config { data_dir, store_url, ..new.clone() });
        self.desk.settings.store(Arc::new(settings(&new)));
        tracing::info!("the configuration was reloaded");
    }
}
