//! `docs/properties.md` is what the plugin registers, and `docs/elements.md` speaks of all of it.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;

use common::*;
use gst::glib;
use gst::prelude::*;

const ELEMENTS: [&str; 10] = [
    "msaovideomas",
    "msaoaudiomas",
    "msaosensormas",
    "msaosensorsrc",
    "msaogate",
    "msaowindow",
    "msaodraft",
    "msaooffload",
    "msaonatssink",
    "msaocaptionsrc",
];
/// Properties that several elements have, which `docs/elements.md` explains once.
const COMMON: [&str; 15] = [
    "model",
    "provider",
    "stats",
    "url",
    "user",
    "password",
    "token",
    "credentials",
    "nkey",
    "tls-ca",
    "tls-cert",
    "tls-key",
    "cloud-domain",
    "inbox",
    "retry-connect",
];

fn page(name: &str) -> String {
    std::fs::read_to_string(workspace().join("docs").join(name)).unwrap()
}

/// The properties that the element itself registers, by name.
fn properties(element: &gst::Element) -> Vec<glib::ParamSpec> {
    let own = |spec: &glib::ParamSpec| spec.owner_type().name().starts_with("GstMsao");
    let mut properties: Vec<_> = element
        .list_properties()
        .iter()
        .filter(|s| own(s))
        .cloned()
        .collect();
    properties.sort_by(|a, b| a.name().cmp(b.name()));
    properties
}

/// Type, range and default of a property.
fn kind(spec: &glib::ParamSpec) -> [String; 3] {
    macro_rules! number {
        ($($spec:ident $name:literal),*) => {
            $(if let Some(spec) = spec.downcast_ref::<glib::$spec>() {
                let range = format!("{:?} to {:?}", spec.minimum(), spec.maximum());
                return [$name.into(), range, spec.default_value().to_string()];
            })*
        };
    }
    number!(ParamSpecInt "int", ParamSpecUInt "uint", ParamSpecInt64 "int64", ParamSpecUInt64 "uint64",
        ParamSpecFloat "float", ParamSpecDouble "double");
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecBoolean>() {
        return [
            "boolean".into(),
            String::new(),
            spec.default_value().to_string(),
        ];
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecString>() {
        let default = spec
            .default_value()
            .map_or_else(String::new, |text| format!("`{text}`"));
        return ["string".into(), String::new(), default];
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecEnum>() {
        let nicks: Vec<_> = spec
            .enum_class()
            .values()
            .iter()
            .map(|v| v.nick())
            .collect();
        let class = spec.enum_class();
        let default = class.value(spec.default_value_as_i32()).unwrap();
        return ["enum".into(), nicks.join(", "), default.nick().into()];
    }
    [
        spec.value_type().name().into(),
        String::new(),
        String::new(),
    ]
}

/// When it can be set.
fn set_in(spec: &glib::ParamSpec) -> &'static str {
    let flags = spec.flags();
    if !flags.contains(glib::ParamFlags::WRITABLE) {
        "read only"
    } else if flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
        "always"
    } else if flags.contains(gst::PARAM_FLAG_MUTABLE_READY) {
        "up to READY"
    } else {
        panic!("{}: nothing says when it may be set", spec.name())
    }
}

/// `docs/properties.md` as it should be.
fn generated() -> String {
    let mut page = "# Properties\n\nWhat the elements register, as `gst-inspect-1.0` shows it: a test writes this page. \
        [elements.md](elements.md) explains it.\n".to_owned();
    for name in ELEMENTS {
        let factory = gst::ElementFactory::find(name).unwrap();
        let element = factory.create().build().unwrap();
        let meta = |key| factory.metadata(key).unwrap();
        let (klass, about) = (meta("klass"), meta("description"));
        write!(
            page,
            "\n## {name}\n\n{}, {klass}. {about}.\n\n",
            meta("long-name")
        )
        .unwrap();
        let templates = factory.static_pad_templates();
        let mut pads: Vec<_> = templates.iter().collect();
        pads.sort_by_key(|pad| pad.name_template().to_owned());
        for pad in pads {
            let presence = format!("{:?}", pad.presence()).to_lowercase();
            let media: Vec<String> = pad.caps().iter().map(|s| s.name().to_string()).collect();
            let mut media = if pad.caps().is_any() {
                vec!["any".to_owned()]
            } else {
                media
            };
            media.dedup();
            writeln!(
                page,
                "- Pad `{}` ({presence}): {}",
                pad.name_template(),
                media.join(", ")
            )
            .unwrap();
        }
        page += "\n| property | type | range | default | set | what it is |\n| --- | --- | --- | --- | --- | --- |\n";
        for spec in properties(&element) {
            let [kind, range, default] = kind(&spec);
            let blurb = spec.blurb().unwrap_or_default();
            let cells = [
                format!("`{}`", spec.name()),
                kind,
                range,
                default,
                set_in(&spec).into(),
                blurb.into(),
            ];
            let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            writeln!(
                page,
                "| {} |",
                cells
                    .join(" | ")
                    .replace("|  |", "| |")
                    .replace("|  |", "| |")
            )
            .unwrap();
        }
    }
    page
}

#[test]
fn the_page_of_properties_is_what_the_plugin_registers() {
    init();
    let path = workspace().join("docs/properties.md");
    let generated = generated();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = generated
        .lines()
        .zip(written.lines())
        .find(|(new, old)| new != old);
    assert!(
        generated == written,
        "docs/properties.md is stale: run `UPDATE_DOCS=1 cargo test -p elements --test docs`\n{differs:?}"
    );
}

/// The sections of `docs/elements.md`, by element.
fn section(page: &str, name: &str) -> String {
    let begins = format!("\n## {name}\n");
    let at = page
        .find(&begins)
        .unwrap_or_else(|| panic!("elements.md has no section {name}"));
    let rest = &page[at + begins.len()..];
    rest[..rest.find("\n## ").unwrap_or(rest.len())].to_owned()
}

#[test]
fn each_element_is_explained_with_all_its_properties_and_a_line_that_runs_it() {
    init();
    let page = page("elements.md");
    let (common, _) = page.split_once("\n## ").unwrap();
    for name in ELEMENTS {
        let section = section(&page, name);
        // The program's tests run these lines.
        let mut blocks = section.split("```").skip(1).step_by(2);
        assert!(
            blocks.any(|block| block.contains("gst-launch-1.0") && block.contains(name)),
            "{name}: no gst-launch line"
        );
        for spec in properties(&make(name)) {
            let property = spec.name();
            let named = |text: &str| text.contains(&format!("`{property}`"));
            let elsewhere = COMMON.contains(&property)
                && (named(common) || named(&self::section(&page, "msaonatssink")));
            assert!(
                named(&section) || elsewhere,
                "{name}: {property} is not explained"
            );
        }
    }
}

/// A default as a table of `docs/elements.md` gives it, as the generated page does.
fn plain(default: &str, int: bool) -> Option<String> {
    let text = default.trim().trim_matches('`').replace(',', "");
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let factor: u64 = match unit {
        "" => return Some(text),
        "ms" if int => 1_000_000,
        "s" if int => 1_000_000_000,
        "MiB" if int => 1 << 20,
        _ => return None,
    };
    Some((number.parse::<u64>().ok()? * factor).to_string())
}

#[test]
fn the_defaults_in_its_tables_are_those_of_the_plugin() {
    init();
    let page = page("elements.md");
    let mut compared = 0;
    for name in ELEMENTS {
        let section = section(&page, name);
        let properties = properties(&make(name));
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let names = cells[0]
                .trim_start_matches("| ")
                .split(", ")
                .map(|n| n.trim_matches('`'));
            let names: Vec<&str> = names.collect();
            let defaults: Vec<&str> = match names.len() {
                1 => vec![cells[1]],
                _ => cells[1].split(", ").collect(),
            };
            if names.len() != defaults.len() {
                continue;
            }
            for (property, default) in names.into_iter().zip(defaults) {
                let Some(spec) = properties.iter().find(|spec| spec.name() == property) else {
                    panic!("{name} has no property {property}");
                };
                let [kind, _, registered] = kind(spec);
                let int = kind == "uint64";
                let registered = registered.trim_matches('`');
                if let Some(default) = plain(default, int)
                    .filter(|default| !default.is_empty() && !registered.is_empty())
                {
                    assert_eq!(default, registered, "{name}: {property}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 30, "only {compared} defaults were compared");
}

#[test]
fn what_gst_inspect_shows_is_complete() {
    init();
    for name in ELEMENTS {
        let factory = gst::ElementFactory::find(name).unwrap();
        for key in ["long-name", "klass", "description", "author"] {
            let text = factory.metadata(key).unwrap_or_default();
            assert!(text.len() > 3, "{name}: {key} is `{text}`");
        }
        for spec in properties(&make(name)) {
            let blurb = spec.blurb().unwrap_or_default();
            let at = format!("{name}: {}: `{blurb}`", spec.name());
            assert!(blurb.len() > 10 && !spec.nick().is_empty(), "{at}");
            let is_time = [
                "interval",
                "timeout",
                "duration",
                "gap",
                "hold",
                "heartbeat",
                "age",
                "wait",
                "latency",
            ];
            if spec.value_type() == u64::static_type()
                && is_time.iter().any(|end| spec.name().ends_with(end))
            {
                assert!(blurb.contains("ns"), "{at} has no unit");
            }
        }
    }
}

/// The rows of the table of signals, events, messages and metas: the name, and the names in the column of fields.
fn said(page: &str) -> Vec<(String, BTreeSet<String>)> {
    let section = section(page, "Signals, events, messages and metas");
    let ticked = |cell: &str| -> Vec<String> {
        let parts = cell.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect()
    };
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [name, .., fields] = cells.as_slice() else {
            panic!("{row}");
        };
        (ticked(name).remove(0), ticked(fields).into_iter().collect())
    })
    .collect()
}

/// What the sources of the plugin name, of each kind of literal that `is` tells.
fn literals(is: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut folders = vec![workspace().join("elements/src")];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(path).unwrap();
                found.extend(
                    text.split('"')
                        .skip(1)
                        .filter(|part| is(part))
                        .map(str::to_owned),
                );
            }
        }
    }
    found
}

#[test]
fn the_table_of_signals_events_messages_and_metas_is_whole() {
    init();
    let page = page("elements.md");
    let said = said(&page);
    let names: BTreeSet<_> = said.iter().map(|(name, _)| name.clone()).collect();
    let is_name = |text: &str| {
        let rest = text.strip_prefix("msao-");
        rest.is_some_and(|rest| {
            rest.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        })
    };
    let structures: BTreeSet<_> = names.iter().filter(|name| is_name(name)).cloned().collect();
    assert_eq!(structures, literals(is_name));
    // Whatever is named as a field is one somewhere.
    let fields = literals(|text| !text.is_empty());
    for (name, of) in said.iter().filter(|(name, _)| is_name(name)) {
        for field in of.iter().filter(|field| *field != "vad-model") {
            assert!(fields.contains(field), "{name}: there is no field {field}");
        }
    }
    assert!(fields.contains("MsaoMasMeta") && names.contains("MsaoMasMeta"));
    // All that feedback may be of.
    let row = page
        .lines()
        .find(|line| line.starts_with("| `msao-feedback` |"));
    let source = workspace().join("elements/src/feedback.rs");
    let source = std::fs::read_to_string(source).unwrap();
    for kind in source.split(r#"field("what", ""#).skip(1) {
        let kind = kind.split('"').next().unwrap();
        let told = row.unwrap().split([' ', ',', ')']).any(|word| word == kind);
        assert!(told, "{kind} is not told of");
    }
    let mut signals = BTreeSet::new();
    for name in ELEMENTS {
        signals.extend(own_signals(name));
    }
    let explained = names
        .iter()
        .filter(|name| !is_name(name) && *name != "MsaoMasMeta");
    assert_eq!(signals, explained.cloned().collect());
}

/// The signals and actions that `gst-inspect-1.0` shows of an element, but for those of its base classes.
fn own_signals(element: &str) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let plugin = std::env::current_exe()
        .unwrap()
        .with_file_name("libgstmsao.so");
    std::os::unix::fs::symlink(plugin, folder.path().join("libgstmsao.so")).unwrap();
    let mut inspect = std::process::Command::new("gst-inspect-1.0");
    inspect.env("GST_PLUGIN_PATH", folder.path());
    inspect.env("GST_REGISTRY", folder.path().join("registry.bin"));
    let shown = inspect.arg(element).output().unwrap();
    assert!(shown.status.success(), "{element}: {shown:?}");
    let shown = String::from_utf8(shown.stdout).unwrap();
    let sections = shown
        .split("Element ")
        .filter(|section| section.starts_with("Signals:") || section.starts_with("Actions:"));
    let names = sections.flat_map(|section| section.split('"').skip(1).step_by(2));
    let of_bases = ["samples-selected"];
    names
        .filter(|name| !of_bases.contains(name))
        .map(str::to_owned)
        .collect()
}
