//! The table of RESP commands: packing and hashes.

use probe_common::key::KeyText;
use probe_common::resp::{CommandClass, CommandSpec, Effect, FAMILIES, MAX_COMMANDS, hash_name};
use proptest::prelude::*;

fn effect() -> impl Strategy<Value = Effect> {
    prop::sample::select(vec![
        Effect::None,
        Effect::Multi,
        Effect::Exec,
        Effect::Discard,
        Effect::Quit,
        Effect::Unpaired,
        Effect::Client,
        Effect::Reset,
        Effect::Reply,
    ])
}

proptest! {
    #[test]
    fn a_packed_command_is_unpacked_unchanged(
        (number, family) in (0..MAX_COMMANDS as u16, 0..FAMILIES as u8),
        class in prop::sample::select(vec![CommandClass::Other, CommandClass::Read, CommandClass::Write]),
        (effect, blocks) in (effect(), any::<bool>()),
        (first_key, last_key, step, numkeys) in any::<(u8, i8, u8, u8)>(),
    ) {
        let spec = CommandSpec { number, family, class, effect, blocks, first_key, last_key, step, numkeys };
        prop_assert_eq!(CommandSpec::unpack(spec.pack()), spec);
    }

    #[test]
    fn a_name_hashes_like_the_same_bytes_in_any_parts(name in "[a-z.|-]{1,64}", cut in 0_usize..64) {
        let name = name.as_bytes();
        let mut text = KeyText::default();
        let (low, high) = name.split_at(cut.min(name.len()));
        for byte in low.iter().chain(high) {
            text.append(u64::from(*byte), 1);
        }
        text.end();
        prop_assert_eq!(hash_name(name), text.hash);
    }
}

#[test]
fn names_have_their_effects() {
    for (name, effect) in [
        ("multi", Effect::Multi),
        ("quit", Effect::Quit),
        ("psubscribe", Effect::Unpaired),
        ("client", Effect::Client),
        ("get", Effect::None),
    ] {
        assert_eq!(Effect::of_name(name.as_bytes()), effect, "{name}");
    }
}
