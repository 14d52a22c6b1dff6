//! Opening a torrent's files, and finding out what of it need not be hashed.

use crate::{Error, Result};
use quelea_metainfo::geometry::Geometry;
use quelea_resume::{Begun, Keeper, Plan};
use quelea_storage::{FileSpec, Options, Store};
use std::path::Path;
use std::sync::Arc;

/// Which torrent is opened where.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Who remembers, if anybody does.
    pub(crate) keeper: Option<&'a Keeper>,
    pub(crate) info_hash: [u8; 20],
    /// The download directory.
    pub(crate) root: &'a Path,
}

/// A torrent's files, open.
pub(crate) struct Opened {
    pub(crate) store: Arc<Store>,
    /// What is trusted, and what is to be hashed.
    pub(crate) plan: Plan,
    /// What was remembered, and the right to go on with it.
    pub(crate) begun: Option<Begun>,
}

impl Opened {
    /// Opens a torrent's files; waits for the disk.
    ///
    /// # Errors
    /// [`Error::InUse`] and [`Error::Storage`].
    pub(crate) fn open(
        place: Place<'_>,
        files: Vec<FileSpec>,
        geometry: Geometry,
        options: Options,
    ) -> Result<Self> {
        let Place { keeper, info_hash, root } = place;
        // Before anything on the disk is touched.
        let begun = match keeper.map(|keeper| keeper.begin(info_hash, root, None)) {
            Some(Err(process)) => return Err(Error::InUse { directory: root.to_owned(), process }),
            Some(Ok(begun)) => begun,
            None => None,
        };
        let store = Arc::new(Store::open(root, files, geometry, options)?);
        let plan = Plan::new(begun.as_ref().and_then(|begun| begun.saved.as_ref()), &store);
        Ok(Self { store, plan, begun })
    }
}
