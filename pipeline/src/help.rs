//! What `--help` shows beside the options: the order of the commands, examples, exit codes.

use clap::{Command, CommandFactory, Parser};

/// What is under the list of commands.
const FIRST_STEPS: &[(&str, &str)] = &[
    ("msao demo", "all of it on one video"),
    ("msao init --rig car", "a configuration for this machine"),
    ("msao check --config edge.toml", "what is wrong with it"),
    ("msao cloud --config configs/cloud.toml", "a worker"),
    ("msao edge --config edge.toml", "the rig"),
    ("msao watch --rig car", "its captions"),
];

const REST: &str = "\
Exit codes: 0 done or stopped, 1 an error, 2 a mistake in the command line.
Logs and progress go to standard error, results to standard output. MSAO_LOG=debug logs more.
Colours are for terminals alone; NO_COLOR=1 leaves them out there, too.";

/// The commands in the order of the list, each with examples.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "demo",
        &[
            ("msao demo", "a street"),
            ("msao demo --scene rig4", "four cameras, sound and motion"),
            (
                "msao demo --video clip.mp4 --fast",
                "your own, not in real time",
            ),
        ],
    ),
    (
        "init",
        &[
            ("msao init", "cameras and microphones that are here"),
            (
                "msao init --rig car --video rtsp://camera/stream",
                "a given camera",
            ),
            (
                "msao init --video clip.mp4 --out clip.toml --force",
                "a file",
            ),
        ],
    ),
    (
        "check",
        &[
            (
                "msao check --config edge.toml",
                "file:line:column: what is wrong",
            ),
            (
                "msao check --config cloud.toml --kind cloud",
                "as a worker's",
            ),
            (
                "msao check --config edge.toml --json",
                "for scripts and editors",
            ),
        ],
    ),
    (
        "doctor",
        &[
            ("msao doctor", "what is installed, and NATS on this machine"),
            (
                "msao doctor --provider cuda",
                "whether the GPU runs the models",
            ),
            ("msao doctor --json", "for scripts"),
        ],
    ),
    (
        "edge",
        &[
            (
                "msao edge --config configs/edge.toml",
                "until Ctrl-C, or its files end",
            ),
            (
                "msao edge --config configs/edge.toml --print-pipeline",
                "the line for gst-launch-1.0",
            ),
        ],
    ),
    (
        "cloud",
        &[("msao cloud --config configs/cloud.toml", "until Ctrl-C")],
    ),
    (
        "watch",
        &[
            ("msao watch", "all rigs, from now on"),
            (
                "msao watch --rig car --all",
                "one, from the oldest caption stored",
            ),
            ("msao watch --json | jq -r .text", "the texts alone"),
        ],
    ),
    (
        "dash",
        &[
            ("msao dash", "the page of all rigs, on this machine"),
            (
                "msao dash --listen 0.0.0.0:8790",
                "for others, who need the token that it prints",
            ),
        ],
    ),
    (
        "ask",
        &[
            (
                "msao ask car 'how many people are there ?'",
                "the edge's word, then the cloud's",
            ),
            (
                "msao ask car 'what is heard ?' --json",
                "each answer as JSON",
            ),
        ],
    ),
    (
        "explain",
        &[
            (
                "msao explain car/01KAXXXXXXXXXXXXXXXXXXXXXX/17",
                "one window",
            ),
            (
                "msao explain car/01KAXXXXXXXXXXXXXXXXXXXXXX/17 --json",
                "with the whole record of the decision",
            ),
        ],
    ),
    (
        "record",
        &[
            ("msao record --rig car --out ride", "all that is stored"),
            (
                "msao record --since 15m --out ride",
                "the last quarter of an hour",
            ),
            (
                "msao record --follow --file-age 3600 --out rides",
                "from now on, a file an hour",
            ),
        ],
    ),
    (
        "replay",
        &[
            ("msao replay ride", "as a new run, at its own pace"),
            (
                "msao replay ride --rig test --speed 0",
                "as another rig, as fast as it goes",
            ),
            (
                "msao replay ride --same-id --speed 0",
                "to restore what a server lost",
            ),
        ],
    ),
    (
        "vtt",
        &[
            ("msao vtt --rig street --out street.vtt", "its latest run"),
            ("msao vtt --recording ride > ride.vtt", "of a recording"),
        ],
    ),
    (
        "dead",
        &[
            ("msao dead list --json", "one object a line"),
            ("msao dead show 17", "all that is stored of one"),
            ("msao dead replay --all", "once what was wrong is mended"),
        ],
    ),
    (
        "models",
        &[
            ("msao models list", "what there is"),
            ("msao models verify msao-edge", "whether it is as it was"),
        ],
    ),
    (
        "leaf",
        &[(
            "msao leaf street --nats nats://hub.example:4222",
            "once, anywhere",
        )],
    ),
    ("bench", &[("msao bench load --quick", "windows a second")]),
    (
        "completions",
        &[
            (
                "msao completions bash > ~/.local/share/bash-completion/completions/msao",
                "",
            ),
            (
                "msao completions zsh > ~/.zfunc/_msao",
                "with ~/.zfunc in fpath",
            ),
            (
                "msao completions fish > ~/.config/fish/completions/msao.fish",
                "",
            ),
        ],
    ),
];

/// `P`'s command with order, examples and exit codes.
pub fn command<P: Parser + CommandFactory>() -> Command {
    let first = format!("First steps:\n{}\n\n{REST}", lines(FIRST_STEPS));
    let mut command = P::command().after_help(first);
    for (order, (name, examples)) in EXAMPLES.iter().enumerate() {
        // A build without the edge lacks some.
        if command.find_subcommand(name).is_some() {
            let examples = format!("Examples:\n{}", lines(examples));
            command = command.mut_subcommand(name, |command| {
                command.display_order(order).after_help(examples)
            });
        }
    }
    command
}

/// One a line, what they do beside them.
fn lines(examples: &[(&str, &str)]) -> String {
    let width = examples.iter().map(|(line, _)| line.len()).max();
    let width = width.unwrap_or_default();
    let lines = examples.iter().map(|(line, about)| {
        let line = format!("  {line:<width$}  {about}");
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;

    #[test]
    fn every_command_has_examples_that_it_takes() {
        let command = command::<Cli>();
        for sub in command.get_subcommands() {
            let name = sub.get_name();
            let examples = EXAMPLES.iter().find(|(of, _)| *of == name);
            let (_, examples) = examples.unwrap_or_else(|| panic!("{name} has no examples"));
            for (line, _) in *examples {
                assert!(line.starts_with(&format!("msao {name}")), "{line}");
                parse(line);
            }
        }
        for (line, _) in FIRST_STEPS {
            parse(line);
        }
        command.debug_assert();
    }

    #[test]
    fn every_command_of_the_docs_is_taken() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let docs = std::fs::read_dir(root.join("docs")).unwrap().flatten();
        let pages = docs.map(|entry| entry.path());
        let pages = pages.filter(|path| path.extension().is_some_and(|end| end == "md"));
        let mut taken = 0;
        for page in pages.chain([root.join("README.md")]) {
            let text = std::fs::read_to_string(&page).unwrap().replace("\\\n", " ");
            for block in text.split("```").skip(1).step_by(2) {
                for line in block.lines() {
                    let line = line.strip_prefix("target/release/").unwrap_or(line);
                    if line.starts_with("msao ") {
                        parse(line.split(" #").next().unwrap());
                        taken += 1;
                    }
                }
            }
        }
        assert!(taken >= 10, "only {taken} commands were found");
    }

    /// Whether the program takes a line, but for what a shell does.
    fn parse(line: &str) {
        let line = line
            .split(['|', '>', '&'])
            .next()
            .unwrap()
            .replace('"', "'");
        let quoted: Vec<&str> = line.split('\'').collect();
        let mut words: Vec<&str> = Vec::new();
        for (index, part) in quoted.into_iter().enumerate() {
            match index % 2 {
                0 => words.extend(part.split_whitespace()),
                _ => words.push(part),
            }
        }
        let taken = command::<Cli>().try_get_matches_from(words);
        assert!(taken.is_ok(), "{line}: {}", taken.unwrap_err());
    }
}
