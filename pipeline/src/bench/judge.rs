//! What the cloud would have said of the windows that stayed on the edge.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use mllm::{Agreement, CaptionModel, ModalTokens, Options, Tokens};
use offload::planner;

use super::maker::{Chosen, Looked, Maker};
use super::methods::Method;
use super::protocol::Record;
use super::windows::{Item, Raw};

/// Judges drafts as the cloud's worker does, apart from any run.
pub struct Judge<'a> {
    full: CaptionModel,
    agreement: Agreement,
    edge: &'a Path,
    folder: &'a Path,
    items: &'a [Item],
    options: Options,
}

impl<'a> Judge<'a> {
    /// Loads the full model in `cloud`; windows lie in `folder`.
    ///
    /// # Errors
    /// The model cannot be loaded, or has no margin of agreement.
    pub fn load(
        (edge, cloud): (&'a Path, &Path),
        folder: &'a Path,
        items: &'a [Item],
        options: Options,
    ) -> Result<Self> {
        let full = CaptionModel::load(cloud, options)?;
        let margin = full.config().agreement_margin;
        let margin = margin.context("the full model has no agreement_margin: calibrate it")?;
        Ok(Self {
            full,
            agreement: Agreement::Margin(margin),
            edge,
            folder,
            items,
            options,
        })
    }

    /// Tokens of text that the full model reads for an item before it writes.
    ///
    /// # Errors
    /// The prompt cannot be read.
    pub fn prompt_length(&self, item: usize) -> Result<usize> {
        Ok(self.full.prompt_length(&self.items[item].prompt)?)
    }

    /// Whether the cloud would have changed the draft of each of the records that `stayed`, had it been sent with as many
    /// tokens as are worth sending.
    ///
    /// # Errors
    /// A model fails.
    pub fn changed(&mut self, method: Method, records: &[Record]) -> Result<HashMap<usize, bool>> {
        let least = planner::Settings::default().min_tokens as usize;
        let mut maker = Maker::load(method, self.edge, self.options, least)?;
        let mut changed = HashMap::new();
        for record in records.iter().filter(|record| stayed(record)) {
            if changed.contains_key(&record.item) {
                continue;
            }
            let item = &self.items[record.item];
            let looked = maker.look(item, &Raw::read(self.folder, item)?)?;
            let chosen = maker.choose(item, &looked, maker.most(&looked))?;
            let draft = looked.draft().context("a kept window has a draft")?;
            let tokens = kept(&looked, &chosen);
            let verified =
                self.full
                    .verify(&tokens, &item.prompt, &draft.token_ids, self.agreement)?;
            let confirmed = verified.whole && verified.caption.text == draft.text;
            changed.insert(record.item, !confirmed);
        }
        Ok(changed)
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
