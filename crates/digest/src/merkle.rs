//! Merkle trees of SHA-256 (BEP 52, "pieces root" and "piece layers").
//!
//! A file's leaves are the digests of its 16 KiB blocks, the last one of the bytes that are left. Leaves beyond
//! the end of the file are 32 zero bytes, up to the next power of two; a node is the digest of its two children.
//! Heights count from the leaves: a leaf has height 0, a node over `1 << h` leaves has height `h`.

use crate::sha256;

/// A node of a tree: a SHA-256 digest, or zeros for a leaf that is not there.
pub type Node = [u8; 32];

/// Bytes under one leaf: 16 KiB (BEP 52, "pieces root").
pub const LEAF_LENGTH: u32 = 16 * 1024;

/// The most levels that a tree can have: 64-bit counts of leaves.
const LEVELS: usize = 65;

/// The node over these two children.
pub fn parent(left: &Node, right: &Node) -> Node {
    let mut both = [0; 64];
    both[..32].copy_from_slice(left);
    both[32..].copy_from_slice(right);
    sha256(&both)
}

/// The node of this height under which there is no leaf of the file.
pub fn pad(height: u32) -> Node {
    (0..height).fold([0; 32], |node, _| parent(&node, &node))
}

/// The root over `leaves`, filled up with zero leaves to a power of two. Without leaves it is the zero leaf.
pub fn root(leaves: impl IntoIterator<Item = Node>) -> Node {
    layer_root(leaves, 0)
}

/// The root over a layer of nodes that all have height `height`, filled up with [`pad`] nodes of that height
/// to a power of two.
pub fn layer_root(layer: impl IntoIterator<Item = Node>, height: u32) -> Node {
    // One open left child a level above the layer, as in a binary counter: memory does not grow with the layer.
    let mut open: [Option<Node>; LEVELS] = [None; LEVELS];
    let mut top = 0;
    for mut node in layer {
        let mut level = 0;
        while let Some(left) = open[level].take() {
            node = parent(&left, &node);
            level += 1;
        }
        open[level] = Some(node);
        top = top.max(level);
    }
    let mut padding = pad(height);
    let mut node: Option<Node> = None;
    for (level, left) in open[..=top].iter().enumerate() {
        node = match (left, node) {
            (Some(left), None) if level == top => Some(*left),
            (Some(left), None) => Some(parent(left, &padding)),
            (Some(left), Some(right)) => Some(parent(left, &right)),
            (None, Some(left)) => Some(parent(&left, &padding)),
            (None, None) => None,
        };
        padding = parent(&padding, &padding);
    }
    node.unwrap_or_else(|| pad(height))
}

/// The root of a file of these bytes, all in one slice.
pub fn root_of_bytes(bytes: &[u8]) -> Node {
    root(bytes.chunks(LEAF_LENGTH as usize).map(sha256))
}

/// The height of the nodes in a torrent's piece layers. `None` when the piece length is not a power of two of
/// at least [`LEAF_LENGTH`] bytes, which BEP 52 demands ("piece length").
pub const fn piece_height(piece_length: u64) -> Option<u32> {
    if piece_length.is_power_of_two() && piece_length >= LEAF_LENGTH as u64 {
        Some(piece_length.ilog2() - LEAF_LENGTH.ilog2())
    } else {
        None
    }
}

/// Whether `layer`, the string of a file in a torrent's "piece layers", has one digest for every piece of a
/// file of `file_length` bytes and hashes up to `pieces_root` (BEP 52, "piece layers").
pub fn layer_matches(layer: &[u8], file_length: u64, piece_length: u64, pieces_root: &Node) -> bool {
    let Some(height) = piece_height(piece_length) else { return false };
    let (nodes, rest) = layer.as_chunks::<32>();
    rest.is_empty()
        && nodes.len() as u64 == file_length.div_ceil(piece_length)
        && layer_root(nodes.iter().copied(), height) == *pieces_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// The definition, written down as it stands.
    fn root_by_definition(mut nodes: Vec<Node>, height: u32) -> Node {
        nodes.resize(nodes.len().next_power_of_two(), pad(height));
        while nodes.len() > 1 {
            nodes = nodes.as_chunks::<2>().0.iter().map(|[left, right]| parent(left, right)).collect();
        }
        nodes[0]
    }

    #[test]
    fn only_powers_of_two_from_a_leaf_up_are_piece_lengths() {
        assert_eq!(piece_height(16_384), Some(0));
        assert_eq!(piece_height(1 << 20), Some(6));
        assert_eq!(piece_height(8_192), None);
        assert_eq!(piece_height(16_385), None);
        assert_eq!(piece_height(0), None);
    }

    #[test]
    fn a_layer_must_have_one_digest_a_piece() {
        let nodes: Vec<Node> = (1..=3).map(|number| [number; 32]).collect();
        let root = layer_root(nodes.iter().copied(), 2);
        let layer = nodes.as_flattened();
        assert!(layer_matches(layer, 3 * 65_536, 65_536, &root));
        assert!(layer_matches(layer, 2 * 65_536 + 1, 65_536, &root));
        assert!(!layer_matches(layer, 3 * 65_536 + 1, 65_536, &root));
        assert!(!layer_matches(layer, 2 * 65_536, 65_536, &root));
        assert!(!layer_matches(&layer[..95], 3 * 65_536, 65_536, &root));
        assert!(!layer_matches(layer, 3 * 65_536, 65_537, &root));
        assert!(!layer_matches(layer, 3 * 65_536, 65_536, &[9; 32]));
    }

    proptest! {
        #[test]
        fn the_root_is_that_of_the_definition(count in 1usize..70, height in 0u32..5) {
            let nodes: Vec<Node> = (0..count).map(|number| [number as u8 + 1; 32]).collect();
            prop_assert_eq!(layer_root(nodes.iter().copied(), height), root_by_definition(nodes, height));
        }
    }
}
