//! What a model that sees pictures is asked about a window, in a folder or behind a server.

use broker::Faults;

/// Where the window's prompt stands.
const PLACE: &str = "{prompt}";
/// What it is asked if the configuration says nothing else.
pub(crate) const DEFAULT: &str = "Look at the picture and do what is asked, in one short sentence and without any comment.\nAsked: {prompt}";
/// What a window is asked whose prompt is empty, or only says that the model is to describe it.
const DESCRIBE: &str = "describe the picture";

/// Notes a `template`, at `key` of the configuration, that leaves out what is asked.
pub(crate) fn check(key: &str, template: &str, faults: &mut Faults) {
    faults.ensure(
        template.contains(PLACE),
        key,
        format!("{key} lacks {PLACE}, which stands for what a window is asked"),
    );
}

/// `template` for a window with this prompt.
pub(crate) fn asked(template: &str, prompt: &str) -> String {
    let prompt = match prompt.trim() {
        "" | "describe" => DESCRIBE,
        prompt => prompt,
    };
    template.replace(PLACE, prompt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_stands_in_its_place_and_the_default_one_says_what_to_describe() {
        let template = format!("{PLACE}! {PLACE}");
        assert_eq!(asked(&template, "how many?"), "how many?! how many?");
        for plain in ["", "describe", " describe\n"] {
            assert!(asked(DEFAULT, plain).ends_with("\nAsked: describe the picture"));
        }
        let mut faults = Faults::default();
        check("chat.prompt", DEFAULT, &mut faults);
        faults.result().unwrap();
    }
}
