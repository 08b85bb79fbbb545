//! What the guides in `docs/` say about the program is true.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Requests that stand as the first cell of a table: `GET /path`, without a query.
fn requests_in(guide: &str) -> BTreeSet<String> {
    let cell = |line: &str| {
        let request = line.strip_prefix("| `")?.split('`').next()?;
        let (method, path) = request.split_once(' ')?;
        let known = ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method) && path.starts_with('/');
        known.then(|| format!("{method} {}", path.split('?').next().unwrap_or_default()))
    };
    guide.lines().filter_map(cell).collect()
}

#[test]
fn the_guide_to_the_api_names_every_request_and_no_other() {
    let document: Value = serde_json::from_str(&read("gateway/src/api/openapi.json")).unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|name| *name != "parameters") {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert_eq!(requests_in(&read("docs/api.md")), described);
}

#[test]
fn the_guides_say_nothing_about_requests_that_are_not_there() {
    assert_eq!(requests_in("| `GET /a?b=c` | x |\n| `POST /d` |\n| `GET` | y |\n`GET /e`").len(), 2);
}

#[test]
fn the_examples_in_the_guide_to_the_api_are_json() {
    let guide = read("docs/api.md");
    let blocks: Vec<&str> =
        guide.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 5, "{} examples", blocks.len());
    for block in blocks {
        serde_json::from_str::<Value>(block).unwrap_or_else(|error| panic!("{error}: {block}"));
    }
}
