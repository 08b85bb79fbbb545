//! `casement token`: who may read or administer.

use super::{Context, Done, Failure, Json, list, out, secret};
use crate::guard::TokenKind;
use crate::store::{Scope, Token};
use crate::telemetry::time;
use crate::{access, clock};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it
    Create {
        /// What it opens
        #[arg(long, value_enum)]
        scope: ScopeName,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
    },
    /// List all tokens, without their secrets
    List(#[command(flatten)] Json),
    /// End a token, and every session signed in with it
    Revoke {
        /// Its number in the listing
        id: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum ScopeName {
    /// Reading everything
    Read,
    /// Everything
    Admin,
}

pub(super) async fn run(command: TokenCommand, context: &Context) -> Done {
    let (_, store) = context.store().await?;
    match command {
        TokenCommand::Create { scope, name } => {
            let scope = match scope {
                ScopeName::Read => Scope::Read,
                ScopeName::Admin => Scope::Admin,
            };
            let (token, kept) = access::issue(TokenKind::Api, scope, name, clock::now_ms(), None);
            store.add_token(&kept).await?;
            secret(
                &token,
                "Keep this token; it is shown this once. Sign in with it, or send it as \"Authorization: Bearer …\":",
            )?;
        }
        TokenCommand::List(Json { json }) => {
            let tokens = store.tokens().await?;
            if json {
                let tokens: Vec<_> = tokens.iter().map(as_json).collect();
                out(&format!("{:#}\n", json!({ "tokens": tokens })))?;
            } else {
                out(&list::table(
                    &["ID", "TOKEN", "SCOPE", "NAME", "AGE", "STATE"],
                    tokens.iter().map(cells).collect(),
                ))?;
            }
        }
        TokenCommand::Revoke { id } => {
            let revoked = match id.parse() {
                Ok(number) => store.revoke_token(number, clock::now_ms()).await?,
                Err(_) => false,
            };
            if !revoked {
                return Err(Failure::new(
                    format!("there is no living token {id}"),
                    "`casement token list` shows all",
                ));
            }
        }
    }
    store.close().await;
    Ok(())
}

fn scope(token: &Token) -> (&'static str, Option<String>) {
    match &token.scope {
        Scope::Device(device) => ("device", Some(device.to_string())),
        Scope::Read => ("read", None),
        Scope::Admin => ("admin", None),
        Scope::Session { .. } => ("session", None),
        Scope::Claim => ("claim", None),
    }
}

fn cells(token: &Token) -> Vec<String> {
    let (scope, device) = scope(token);
    vec![
        token.id.to_string(),
        format!("{}…", token.hint),
        device.map_or_else(|| scope.to_owned(), |device| format!("{scope} {device}")),
        token.name.clone().unwrap_or_else(|| "–".to_owned()),
        time::age(clock::now_ms() - token.created_ms),
        state(token).to_owned(),
    ]
}

fn state(token: &Token) -> &'static str {
    let over = token.expires_ms.is_some_and(|end| end <= clock::now_ms());
    match (&token.scope, token.revoked_ms) {
        (Scope::Claim, Some(_)) => "used",
        (_, Some(_)) => "revoked",
        (_, None) if over => "over",
        (_, None) => "good",
    }
}

fn as_json(token: &Token) -> serde_json::Value {
    let (scope, device) = scope(token);
    json!({
        "id": token.id,
        "hint": token.hint,
        "scope": scope,
        "device": device,
        "name": token.name,
        "created": time::rfc3339(token.created_ms),
        "expires": token.expires_ms.map(time::rfc3339),
        "revoked": token.revoked_ms.map(time::rfc3339),
    })
}
