//! Opening a torrent's files where they are, and finding out what of it need not be hashed.

use crate::naming::Naming;
use crate::{Error, Placement, Result};
use quelea_metainfo::geometry::Geometry;
use quelea_resume::{Begun, Keeper, Names, Plan, Reached};
use quelea_storage::file_layer::FileLayer;
use quelea_storage::{
    FileSpec, Goal, Holder, Interrupted, Layout, Options, Step, StorageError, Store, recover,
};
use quelea_swarm::picker::Priority;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which torrent is opened where.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Who remembers, if anybody does.
    pub(crate) keeper: Option<&'a Keeper>,
    pub(crate) info_hash: [u8; 20],
    /// The download directory that it was added with.
    pub(crate) home: &'a Path,
    /// Where it is until it is complete, if not there.
    pub(crate) incomplete: Option<&'a Path>,
    /// Where its task left it, for when there is nobody who remembers.
    pub(crate) placed: Option<&'a Placement>,
    /// The names that its files may have.
    pub(crate) naming: &'a Naming,
    /// The name of the folder for copies.
    pub(crate) staging: &'a Path,
    /// Whether it was said which files are wanted; else those are that were when it ran last.
    pub(crate) wants_named: bool,
}

/// A torrent's files, open.
pub(crate) struct Opened {
    pub(crate) store: Arc<Store>,
    /// What is trusted, and what is to be hashed.
    pub(crate) plan: Plan,
    /// Whether the last run was ended in the middle, so that files may hold what is in no good piece.
    pub(crate) torn: bool,
    /// What was remembered, and the right to go on with it.
    pub(crate) begun: Option<Begun>,
    /// How much each file is wanted, if that was changed while it ran.
    pub(crate) priorities: Option<Vec<Priority>>,
    /// Where the files go once they are complete.
    pub(crate) finished_to: Option<PathBuf>,
}

/// Where a torrent's files are, and what they are called.
pub(crate) struct Located {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<FileSpec>,
    /// What was remembered, and the right to go on with it.
    pub(crate) begun: Option<Begun>,
}

impl Located {
    /// Finds a torrent's files; waits for the disk. Brings to an end what was interrupted when they were moved.
    ///
    /// # Errors
    /// [`Error::InUse`] and [`Error::Storage`].
    pub(crate) fn find(
        place: Place<'_>,
        mut files: Vec<FileSpec>,
        geometry: Geometry,
        options: &Options,
    ) -> Result<Self> {
        let Place { keeper, info_hash, home, incomplete, naming, .. } = place;
        let Some(keeper) = keeper else { return Ok(Self::find_unremembered(place, files)) };
        let first = incomplete.filter(|_| !naming.has_data(home, &files));
        // Before anything on the disk is touched.
        let mut begun = match keeper.begin(info_hash, home, first) {
            Err(process) => return Err(Error::InUse { directory: home.to_owned(), process }),
            Ok(Some(begun)) => begun,
            Ok(None) => return Ok(Self::find_unremembered(place, files)),
        };
        go_on_moving(place, keeper, &mut begun, &files, geometry, options)?;
        // The name that the user gave it, as long as it is there.
        let root = if begun.is_at_home() { home.to_owned() } else { begun.directory() };
        begun.name_files(naming.choose(&root, &files, &begun.arrangement.names));
        rename(&mut files, &begun.arrangement.names);
        Ok(Self { root, files, begun: Some(begun) })
    }

    /// Without state nobody but the session knows.
    fn find_unremembered(place: Place<'_>, mut files: Vec<FileSpec>) -> Self {
        if let Some(placed) = place.placed {
            for (file, path) in files.iter_mut().zip(&placed.paths) {
                file.path.clone_from(path);
            }
            return Self { root: placed.directory.clone(), files, begun: None };
        }
        let first = place.incomplete.filter(|_| !place.naming.has_data(place.home, &files));
        let root = first.unwrap_or(place.home);
        let names = place.naming.choose(root, &files, &Names::new());
        rename(&mut files, &names);
        Self { root: root.to_owned(), files, begun: None }
    }
}

impl Opened {
    /// Opens a torrent's files where they are; waits for the disk.
    ///
    /// # Errors
    /// [`Error::InUse`] and [`Error::Storage`].
    pub(crate) fn open(
        place: Place<'_>,
        files: Vec<FileSpec>,
        geometry: Geometry,
        mut options: Options,
    ) -> Result<Self> {
        let Place { home, incomplete, wants_named, .. } = place;
        let Located { root, files, begun } = Located::find(place, files, geometry, &options)?;
        let known = begun.as_ref().and_then(|begun| known_priorities(begun, &files));
        let priorities = known.filter(|_| !wants_named);
        if let Some(priorities) = &priorities {
            options.wanted = Some(priorities.iter().map(|priority| priority.is_wanted()).collect());
        } else if let Some(placed) = place.placed.filter(|_| begun.is_none()) {
            options.wanted = Some(placed.wanted.clone());
        }
        options.known = Some(known_files(begun.as_ref(), place.placed, &files, geometry)?);
        let store = Arc::new(Store::open(&root, files, geometry, options)?);
        let torn = begun.as_ref().and_then(|begun| begun.saved.as_ref()).is_some_and(|saved| !saved.clean);
        let plan = Plan::new(begun.as_ref().and_then(|begun| begun.saved.as_ref()), &store);
        let is_incomplete = incomplete.is_some_and(|incomplete| is_same(incomplete, &root));
        let finished_to = (is_incomplete && !is_same(home, &root)).then(|| home.to_owned());
        Ok(Self { store, plan, torn, begun, priorities, finished_to })
    }
}

fn rename(files: &mut [FileSpec], names: &Names) {
    for (&number, path) in names {
        if let Some(file) = files.get_mut(number) {
            file.path.clone_from(path);
        }
    }
}

/// How much each file is wanted, where that was changed while it ran.
pub(crate) fn known_priorities(begun: &Begun, files: &[FileSpec]) -> Option<Vec<Priority>> {
    let numbers = begun.arrangement.priorities.as_ref().filter(|numbers| numbers.len() == files.len())?;
    let priorities: Vec<Priority> = numbers.iter().filter_map(|&number| Priority::new(number)).collect();
    let any = priorities.iter().zip(files).any(|(priority, file)| priority.is_wanted() && !file.pad);
    (any && priorities.len() == files.len()).then_some(priorities)
}

/// Which files the state knows as the torrent's; without state, all of them once the torrent has run in this session.
pub(crate) fn known_files(
    begun: Option<&Begun>,
    placed: Option<&Placement>,
    files: &[FileSpec],
    geometry: Geometry,
) -> Result<Vec<bool>> {
    let Some(begun) = begun else { return Ok(vec![placed.is_some(); files.len()]) };
    let layout = Layout::new(files.iter().map(|file| file.length), geometry)
        .ok_or(StorageError::BadFileList("its lengths do not sum up to the torrent's"))?;
    let knows = |file| begun.saved.as_ref().is_some_and(|saved| saved.knows(Holder::File(file)));
    Ok(layout.files().map(knows).collect())
}

/// Whether both paths lead to the same directory, there or not.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    one == other || matches!((real(one), real(other)), (Ok(one), Ok(other)) if one == other)
}

/// Whatever a torrent's bytes may be in.
fn holders(layout: &Layout) -> impl Iterator<Item = Holder> {
    layout.files().map(Holder::File).chain([Holder::PartFile])
}

/// Brings files that were on their way when the last run ended to one end of it or the other.
fn go_on_moving(
    place: Place<'_>,
    keeper: &Keeper,
    begun: &mut Begun,
    files: &[FileSpec],
    geometry: Geometry,
    options: &Options,
) -> Result<()> {
    let journal = |error| StorageError::Journal(Box::new(error));
    while let Some(moving) = begun.arrangement.moving.clone() {
        let named = |names: &Names| -> Vec<PathBuf> {
            let mut files = files.to_vec();
            rename(&mut files, names);
            files.into_iter().map(|file| file.path).collect()
        };
        let layout = Layout::new(files.iter().map(|file| file.length), geometry)
            .ok_or(StorageError::BadFileList("its lengths do not sum up to the torrent's"))?;
        let pads: Vec<bool> = files.iter().map(|file| file.pad).collect();
        let is_placed = moving.reached == Reached::Placed;
        let here = (begun.directory(), named(&begun.arrangement.names));
        let there = (moving.directory.clone(), named(&moving.names));
        // Once they are there, what is remembered is where they were.
        let (from, to) = if is_placed { (there, here) } else { (here, there) };
        let known: Vec<Holder> = match &begun.saved {
            Some(saved) => holders(&layout).filter(|holder| saved.knows(*holder)).collect(),
            None => Vec::new(),
        };
        let staging = place.staging.to_owned();
        let goal = Goal { root: to.0, paths: to.1, existing: moving.existing, staging };
        let interrupted = Interrupted {
            root: &from.0,
            paths: &from.1,
            pads: &pads,
            part_file: options.part_file.as_deref().unwrap_or(Path::new("")),
            goal: &goal,
            step: match moving.reached {
                Reached::Copying => Step::Copying,
                Reached::Placing => Step::Placing { staged: moving.staged },
                Reached::Placed => Step::Placed { moved: &[] },
            },
            staged: moving.staged,
            layout: &layout,
            known: &known,
        };
        let layer: Arc<dyn FileLayer> = Arc::clone(&options.layer);
        let at_goal = recover(interrupted, layer)?;
        keeper.recovered(begun, at_goal, is_placed || !at_goal).map_err(journal)?;
    }
    Ok(())
}
