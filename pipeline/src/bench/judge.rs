//! What the cloud would have said of the windows that stayed on the edge.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context, Result, bail};
use mllm::{Agreement, CaptionModel, ModalTokens, Options, Tokens};
use offload::planner;

use super::maker::{Chosen, Looked, Maker};
use super::methods::Method;
use super::protocol::Record;
use super::windows::{Item, Raw};

/// Judges drafts as the cloud's worker does, apart from any run.
pub struct Judge<'a> {
    /// Folders of the edge model and of the full model.
    pub models: (&'a Path, &'a Path),
    /// Where the items' files lie.
    pub folder: &'a Path,
    /// All items.
    pub items: &'a [Item],
    /// How models run.
    pub options: Options,
}

impl Judge<'_> {
    /// Whether the cloud would have changed the draft of each item whose window stayed in `records`, had it been sent with as
    /// many tokens as are worth sending.
    ///
    /// # Errors
    /// A model cannot be loaded or fails.
    pub fn changed(&self, method: Method, records: &[Record]) -> Result<HashMap<usize, bool>> {
        let kept = records.iter().filter(|record| stayed(record));
        let items: BTreeSet<usize> = kept.map(|record| record.item).collect();
        let items: Vec<usize> = items.into_iter().collect();
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let share = items.len().div_ceil(cores).max(1);
        std::thread::scope(|scope| {
            let parts = items.chunks(share);
            let threads: Vec<_> = parts
                .map(|part| scope.spawn(|| self.judged(method, part)))
                .collect();
            let mut changed = HashMap::new();
            for thread in threads {
                match thread.join() {
                    Ok(part) => changed.extend(part?),
                    Err(_) => bail!("judging a draft has panicked"),
                }
            }
            Ok(changed)
        })
    }

    fn judged(&self, method: Method, items: &[usize]) -> Result<Vec<(usize, bool)>> {
        let least = planner::Settings::default().min_tokens as usize;
        let mut maker = Maker::load(method, self.models.0, self.options, least)?;
        let mut full = CaptionModel::load(self.models.1, self.options)?;
        let margin = full.config().agreement_margin;
        let margin = margin.context("the full model has no agreement_margin: calibrate it")?;
        let judge = |number: &usize| {
            let item = &self.items[*number];
            let looked = maker.look(item, &Raw::read(self.folder, item)?)?;
            let chosen = maker.choose(item, &looked, maker.most(&looked))?;
            let draft = looked.draft().context("a kept window has a draft")?;
            let (tokens, ids) = (kept(&looked, &chosen), &draft.token_ids);
            let rule = Agreement::Margin(margin);
            let verified = full.verify(&tokens, &item.prompt, ids, rule)?;
            let confirmed = verified.whole && verified.caption.text == draft.text;
            Ok((*number, !confirmed))
        };
        items.iter().map(judge).collect()
    }
}

/// Whether the planner kept the window on the edge.
pub fn stayed(record: &Record) -> bool {
    record.decision == offload::Action::Keep.name()
}

fn kept(looked: &Looked, chosen: &Chosen) -> Tokens {
    let mut kept = Tokens::default();
    for (modality, all) in looked.encoded.tokens.present() {
        let mut mask = vec![false; all.positions.len()];
        chosen
            .keep
            .get(modality)
            .iter()
            .for_each(|p| mask[*p] = true);
        *kept.get_mut(modality) = Some(ModalTokens::kept(&all.features, &mask));
    }
    kept
}
