//! Reading a stream of server-sent events.

use crate::wait::PATIENCE;
use anyhow::{Context, Result, bail};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use std::time::Duration;

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The last id seen in the stream, this event's own included.
    pub id: Option<String>,
    /// Its name; `message` when the stream does not say.
    pub name: String,
    /// Its data lines, joined.
    pub data: String,
}

impl Event {
    /// The data as JSON.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.data)
            .with_context(|| format!("event {} is not JSON: {}", self.name, self.data))
    }
}

/// An open stream.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    seen: Vec<u8>,
    last_id: Option<String>,
}

impl Events {
    pub(crate) const fn new(body: Incoming) -> Self {
        Self { body, seen: Vec::new(), last_id: None }
    }

    /// The next event of any name; `None` when the stream ends or breaks.
    ///
    /// # Errors
    /// When nothing comes within `patience`.
    pub async fn within(&mut self, patience: Duration) -> Result<Option<Event>> {
        tokio::time::timeout(patience, self.read())
            .await
            .with_context(|| format!("no event within {patience:?}"))
    }

    /// The next event of this name; others are passed over.
    ///
    /// # Errors
    /// When the stream ends or nothing comes.
    pub async fn named(&mut self, name: &str) -> Result<Event> {
        let search = async {
            while let Some(event) = self.read().await {
                if event.name == name {
                    return Ok(event);
                }
            }
            bail!("the stream ended before a {name:?} event")
        };
        tokio::time::timeout(PATIENCE, search).await.with_context(|| format!("no {name:?} event came"))?
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some(block) = self.take_block() {
                if let Some(event) = self.parse(&block) {
                    return Some(event);
                }
                continue;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(data) = frame.data_ref() {
                self.seen.extend(data);
            }
        }
    }

    /// Everything up to the next empty line.
    fn take_block(&mut self) -> Option<String> {
        let end = self.seen.windows(2).position(|two| two == b"\n\n")?;
        let block: Vec<u8> = self.seen.drain(..end + 2).collect();
        Some(String::from_utf8_lossy(&block).into_owned())
    }

    fn parse(&mut self, block: &str) -> Option<Event> {
        let (mut name, mut data) = (None, Vec::new());
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = Some(value.to_owned()),
                "data" => data.push(value),
                "id" => self.last_id = Some(value.to_owned()),
                _ => {}
            }
        }
        // A block without data sets the id and is no event (HTML Standard, 9.2.6).
        (!data.is_empty()).then(|| Event {
            id: self.last_id.clone(),
            name: name.unwrap_or_else(|| "message".to_owned()),
            data: data.join("\n"),
        })
    }
}
