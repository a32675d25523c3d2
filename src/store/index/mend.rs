//! What the feed could not bring: a block is stored with the call that says it first, and when that call's trace has been
//! removed, calls of other traces that say it too come without its bytes. Their bodies still have them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::intake::{ReadMessage, fresh_blocks};
use super::rows::{Hex32, SetupRow, ToolRow};
use crate::context::{What, bare_parts, split};
use crate::store::log::{Fresh, Named};
use crate::trace::{CallId, Wire};

/// Ids that were said and are not known yet, with a call that says them.
#[derive(Default)]
pub(super) struct Wanted {
    pub messages: HashMap<[u8; 16], (CallId, Wire)>,
    pub setups: HashMap<[u8; 16], (CallId, Wire)>,
    pub tools: HashMap<[u8; 16], (CallId, Wire)>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    pub messages: Vec<ReadMessage>,
    pub setups: Vec<([u8; 16], Vec<SetupRow>)>,
    pub tools: Vec<([u8; 16], Vec<ToolRow>)>,
}

/// Looks into the bodies of the calls that say what is wanted.
pub(super) fn find(wanted: Wanted, body_of: &dyn Fn(CallId) -> Option<Bytes>) -> Found {
    let calls: HashSet<(CallId, Wire)> =
        wanted.messages.values().chain(wanted.setups.values()).chain(wanted.tools.values()).copied().collect();
    let mut found = Found::default();
    for (call, wire) in calls {
        let Some(body) = body_of(call) else { continue };
        let split = split(&body, None);
        let (_, places) = split.conversation("");
        let (setup_id, setup_places) = split.setup(&places);
        let named = |at: &usize| match &split.pieces[*at].what {
            What::Block(block) => Some(Named { name: block.name.clone(), id: block.id }),
            What::Gap(_) => None,
        };
        let setup: Vec<Named> = setup_places.iter().filter_map(named).collect();
        let new_setup = wanted.setups.contains_key(&setup_id.0);
        let blocks = split.blocks().filter(|(at, block)| {
            let asked = wanted.messages.contains_key(&block.id.0) || wanted.tools.contains_key(&block.id.0);
            asked || (new_setup && setup_places.contains(at))
        });
        let fresh = blocks.map(|(at, block)| {
            let bytes: Vec<u8> = bare_parts(&body[split.range(at)], &block.cuts).flatten().copied().collect();
            Fresh { name: block.name.clone(), id: block.id, bytes: bytes.into() }
        });
        let said: Vec<Named> = places.iter().filter_map(named).collect();
        let (messages, tools) = fresh_blocks(wire, fresh.collect(), &said, &setup);
        found.messages.extend(messages);
        found.tools.extend(tools);
        if new_setup {
            let rows = (1..).zip(setup).map(|(position, block)| SetupRow {
                setup_id: Hex32::from(setup_id.0),
                position,
                part: block.name.to_string(),
                block_id: Hex32::from(block.id.0),
            });
            found.setups.push((setup_id.0, rows.collect()));
        }
    }
    once(&mut found.messages, |message| message.id);
    once(&mut found.setups, |setup| setup.0);
    once(&mut found.tools, |tool| tool.0);
    found
}

fn once<T>(rows: &mut Vec<T>, id: impl Fn(&T) -> [u8; 16]) {
    let mut seen = HashSet::new();
    rows.retain(|row| seen.insert(id(row)));
}
