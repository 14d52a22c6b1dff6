//! Pieces to files: layout, hash lanes, disk threads, checking.
