//! The examples of the docs and of configs/cloud.toml are read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use cloud_sink::{ChatSection, Config, ServerSection};
use common::workspace;
use serde::Deserialize;

fn text(path: &str) -> String {
    std::fs::read_to_string(workspace(path)).unwrap()
}

#[test]
fn examples_of_the_docs_are_configurations() {
    let page = text("docs/models.md");
    let blocks = page.split("```toml\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    for (table, model) in [("[tensorrt]", "model = 'm'\n"), ("[server]", "")] {
        let block = blocks.iter().find(|block| block.contains(table)).unwrap();
        let config: Config = toml::from_str(&format!("{model}{block}")).unwrap();
        config.check().unwrap();
    }
}

/// Each key of the file with its default, as the file says.
#[test]
fn the_tables_of_the_file_are_the_defaults() {
    #[derive(Deserialize)]
    struct Tables {
        chat: ChatSection,
        server: ServerSection,
        tensorrt: mllm::TensorRt,
    }
    let file = text("configs/cloud.toml");
    let table = |name: &str| {
        let rest = &file[file.find(&format!("# [{name}]")).unwrap()..];
        let table = rest.split("\n\n").next().unwrap();
        table
            .lines()
            .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap()))
            .collect::<String>()
    };
    let tables: Tables =
        toml::from_str(&(table("chat") + &table("server") + &table("tensorrt"))).unwrap();
    assert_eq!(tables.chat, ChatSection::default());
    let ServerSection {
        url,
        model,
        api_key,
        tls_ca,
        ..
    } = tables.server.clone();
    assert!(api_key.is_some() && tls_ca.is_some());
    let defaults = ServerSection {
        url,
        model,
        api_key,
        tls_ca,
        ..ServerSection::default()
    };
    assert_eq!(tables.server, defaults);
    tables.tensorrt.check(mllm::Provider::Auto).unwrap();
    assert!(!tables.tensorrt.fp16 && tables.tensorrt.shapes.is_empty());
    let config = Config {
        model: None,
        // The file is on no test machine.
        server: Some(ServerSection {
            tls_ca: None,
            ..tables.server
        }),
        ..Config::new("")
    };
    config.check().unwrap();
}
