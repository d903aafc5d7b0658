//! Tests the shard cache in the socket storage.

use probe_common::socket::Owner;

#[test]
fn an_owner_is_known_until_the_endpoints_change() {
    assert_eq!(Owner::default().shard(0), None);
    for changes in [0, 1, u32::MAX] {
        for shard in [0, 1, 63] {
            let owner = Owner::found(shard, changes);
            assert_eq!(owner.shard(changes), Some(shard));
            assert_eq!(owner.shard(changes.wrapping_add(1)), None);
        }
    }
}
