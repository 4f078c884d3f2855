//! `mirror`: makes a remote tree the image of a local one, or the other way round. `scan` lists both as a `tree`, `plan`
//! decides what to do, and `changes`, `transfers` and `permissions` do it. `collisions` are names that the target treats
//! as the same.

mod changes;
mod collisions;
mod permissions;
pub mod plan;
mod report;
mod scan;
mod transfers;
pub mod tree;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::base::attributes::UMASK;
use crate::base::explanation::Explanation;
use crate::base::text::Escaped;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::exclusions::Exclusions;
use crate::client::files::local::shown;
use crate::client::files::modes::{ModePolicy, umask};
use crate::client::files::patterns::path as local_path;
use crate::client::mirror::plan::{MirrorPlan, MirrorRules};
use crate::client::mirror::tree::MirrorTree;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::command::usage_failure;
use crate::client::syntax::lexer::Word;
use crate::client::transfer::compare::same_contents;
use crate::client::transfer::report::note_interruption;
use crate::client::ui::summary::Summary;
use permissions::entries;
use scan::Scan;

/// `mirror [OPTION...] LOCAL REMOTE` or `mirror [OPTION...] --from REMOTE LOCAL`
pub fn mirror(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let mirror = Mirror::read(session, words)?;
    let result = mirror.run(session);
    note_interruption(session, result)
}

/// The options and operands of the command.
struct Mirror {
    local: PathBuf,
    remote: VirtualPath,
    /// The local tree becomes the image of the remote one.
    is_from: bool,
    is_dry_run: bool,
    /// A source without files may empty the target.
    may_empty: bool,
    rules: MirrorRules,
    exclusions: Exclusions,
    /// Whether the target gets the permission bits of the source.
    modes: ModePolicy,
}

impl Mirror {
    fn read(session: &Session, words: &[Word]) -> Result<Self, Failure> {
        let arguments = Arguments::parse("mirror", words)?;
        let [from, to] = arguments.operands[..] else {
            return Err(usage_failure("mirror", "two directories are needed"));
        };
        let (is_from, is_dry_run, may_empty) =
            (arguments.has("--from"), arguments.has("--dry-run"), arguments.has("--allow-empty"));
        let modes = if arguments.has("--no-perms") { ModePolicy::Ignore } else { ModePolicy::AllFiles };
        let mut exclusions = Exclusions::default();
        arguments.values("--exclude").for_each(|pattern| exclusions.add(pattern));
        let (local, remote) = if is_from { (to, from) } else { (from, to) };
        let (local, remote) = (local_path(local), session.path(remote)?);
        let mask = if is_from { umask() } else { UMASK };
        let rules = MirrorRules {
            by_content: arguments.has("--checksum"),
            with_delete: arguments.has("--delete"),
            target_umask: (modes != ModePolicy::Ignore).then_some(mask),
        };
        Ok(Self { local, remote, is_from, is_dry_run, may_empty, rules, exclusions, modes })
    }

    fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let mut summary = Summary::new("mirror", false).with_removals();
        self.note_direction(session);
        let scan = self.scan(session, &mut summary)?;
        let (source, target) = if self.is_from { (&scan.remote, &scan.local) } else { (&scan.local, &scan.remote) };
        let mut plan = self.plan(session, &mut summary, source, target)?;
        if !scan.is_source_whole && !plan.only_in_target.is_empty() {
            plan.only_in_target.clear();
            session.output.note("--delete removes nothing, because part of the source could not be read");
        }
        self.report_kept(session, &mut summary, &plan, source, target)?;
        if self.is_dry_run {
            return self.report_plan(session, summary, &plan);
        }
        self.refuse_to_empty(source, &plan)?;
        if !plan.is_empty() || self.is_from || !scan.remote_exists {
            self.make_root(session, scan.root_mode)?;
        }
        summary.count_unlisted_identical(plan.identical);
        summary.set_plan(plan.files.len(), plan.bytes());
        let result = self.execute(session, &mut summary, &scan, plan);
        summary.conclude(&mut session.output, result)
    }

    /// Carries out the plan. Entries in the way are removed first. Then directories are created, files transferred and
    /// permissions changed. Entries that exist only in the target are removed last, so that an interrupted mirror has
    /// not removed them before their replacements arrived.
    fn execute(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        scan: &Scan,
        mut plan: MirrorPlan,
    ) -> Result<(), Failure> {
        let (source, target) = if self.is_from { (&scan.remote, &scan.local) } else { (&scan.local, &scan.remote) };
        self.remove_useless_parts(&plan, &scan.parts);
        self.remove(session, summary, target, &plan.in_the_way)?;
        let spellings = self.spellings(source, target);
        let mut missing = self.make_directories(session, summary, source, &plan.directories)?;
        let directories = plan.directories.clone();
        let collisions = self.fail_name_collisions(session, summary, &spellings, source, &mut plan, &directories)?;
        missing.extend(collisions.colliding);
        plan.files.retain(|file| !missing.iter().any(|directory| directory.contains(&file.path)));
        self.fail_local_name_collisions(session, summary, &spellings, source, &mut plan, &collisions.kept)?;
        let mut occupied = self.transfer_files(session, summary, &plan)?;
        let collisions = self.fail_name_collisions(session, summary, &spellings, source, &mut plan, &occupied)?;
        occupied.retain(|path| !collisions.colliding.contains(path));
        self.transfer_occupied(session, summary, source, &occupied)?;
        self.change_modes(session, summary, &plan)?;
        if self.is_from {
            self.keep_transferred(&mut plan, &directories);
        }
        self.remove(session, summary, target, &plan.only_in_target)
    }

    /// Tells the user the direction, because `mirror` of other programs goes the other way. In a script,
    /// standard error carries only problems, so nothing is written.
    fn note_direction(&self, session: &mut Session) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let (local, remote) = (shown(&self.local), format!("{}:{}", Escaped(session.peer.as_bytes()), self.remote));
        match self.is_from {
            true => session.output.note(format_args!("mirror: from {remote} to the local {local}")),
            false => session.output.note(format_args!("mirror: from the local {local} to {remote}")),
        }
    }

    /// Refuses to empty the target for a source without files. That is usually a mistake, such as a missing
    /// mount or a wrong name.
    fn refuse_to_empty(&self, source: &MirrorTree, plan: &MirrorPlan) -> Result<(), Failure> {
        let removed = plan.only_in_target.len() + plan.in_the_way.len();
        if self.may_empty || removed == 0 || source.has_files() {
            return Ok(());
        }
        let (from, to) = match self.is_from {
            true => (format!("remote {}", self.remote), format!("local {}", shown(&self.local))),
            false => (format!("local {}", shown(&self.local)), format!("remote {}", self.remote)),
        };
        Err(Failure::Local(Explanation::new(
            format!("{from} has no files, so --delete would remove {} from {to}", entries(removed)),
            "--dry-run lists them, --allow-empty removes them",
        )))
    }

    fn local_path(&self, path: &VirtualPath) -> PathBuf {
        if path.is_root() { self.local.clone() } else { self.local.join(path.relative()) }
    }

    fn remote_path(&self, path: &VirtualPath) -> Result<VirtualPath, Failure> {
        let whole = path.components().try_fold(self.remote.clone(), |whole, name| whole.child(name));
        whole.map_err(|error| Failure::Local(format!("{}: {error}", relative(path)).into()))
    }

    /// Converts the path `remote` to a path below the root of the tree.
    fn below(&self, remote: &VirtualPath) -> Result<VirtualPath, Failure> {
        let mut names = remote.components().skip(self.remote.components().count());
        let path = names.try_fold(VirtualPath::root(), |path, name| path.child(name));
        path.map_err(|error| Failure::Local(format!("{remote}: {error}").into()))
    }

    fn plan(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        source: &MirrorTree,
        target: &MirrorTree,
    ) -> Result<MirrorPlan, Failure> {
        let mut plan = MirrorPlan::new(source, target, self.rules);
        self.compare_by_digest(session, summary, &mut plan)?;
        Ok(plan)
    }

    /// Compares the files whose digests decide: identical files are done, the others are transferred.
    fn compare_by_digest(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        plan: &mut MirrorPlan,
    ) -> Result<(), Failure> {
        let alike = std::mem::take(&mut plan.to_compare);
        let places: Vec<(PathBuf, VirtualPath)> = alike
            .iter()
            .map(|file| Ok((self.local_path(&file.path), self.remote_path(&file.path)?)))
            .collect::<Result<_, Failure>>()?;
        let pairs: Vec<(&Path, &VirtualPath)> =
            places.iter().map(|(local, remote)| (local.as_path(), remote)).collect();
        let mut results = Vec::with_capacity(pairs.len());
        same_contents(session, &pairs, |result| results.push(result))?;
        for (file, result) in alike.into_iter().zip(results) {
            match result {
                Ok(Some(_)) => plan.identical += 1,
                Ok(None) => plan.files.push(file),
                Err(failure) => summary.count(&mut session.output, Err(failure))?,
            }
        }
        Ok(())
    }
}

/// Returns whether `path` is directly in the root of the tree.
fn is_top(path: &VirtualPath) -> bool {
    path.depth() == 1
}

/// Formats a path relative to the root of the tree.
fn relative(path: &VirtualPath) -> Escaped<'_> {
    Escaped(&path.as_bytes()[1..])
}
