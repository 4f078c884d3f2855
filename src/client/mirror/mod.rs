//! `mirror`: makes a remote tree the image of a local one, or the other way round. `plan` decides what to do;
//! `transfer::engine` moves the bytes.

pub mod plan;
mod scan;
pub mod times;

use std::collections::HashSet;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use scan::Found;

use crate::base::attributes::UMASK;
use crate::base::digest::Digest;
use crate::base::text::{Escaped, Size};
use crate::base::virtual_path::VPath;
use crate::client::commands::local::path as local_path;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, unexpected};
use crate::client::files::exclusions::Exclusions;
use crate::client::files::local::{names_in, shown};
use crate::client::files::modes::{self, ModePolicy, NO_PERMS, create_folder, umask};
use crate::client::files::spellings::Spellings;
use crate::client::mirror::plan::{ModeChange, Move, Node, Plan, Rules, Tree};
use crate::client::shell::command::{no_option, usage};
use crate::client::shell::lexer::Word;
use crate::client::transfer::compare::{note_interruption, same_contents};
use crate::client::transfer::engine::transfer_all;
use crate::client::transfer::job::{Direction, TransferJob, Transferred};
use crate::client::transfer::part::names::{destination_of_part, remove_part};
use crate::client::ui::progress::Progress;
use crate::client::ui::summary::Summary;
use crate::wire::message::{EntryKind, ErrorCode, Name};
use crate::wire::{Reply, Request};

/// `mirror [OPTION...] LOCAL REMOTE` or `mirror [OPTION...] --from REMOTE LOCAL`
pub fn mirror(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let order = Order::read(session, words)?;
    let result = order.carry_out(session);
    note_interruption(session, result)
}

/// The options and operands of the command.
struct Order {
    local: PathBuf,
    remote: VPath,
    /// The local tree becomes the image of the remote one.
    is_from: bool,
    is_dry_run: bool,
    /// A source without files may empty the target.
    may_empty: bool,
    rules: Rules,
    exclusions: Exclusions,
    /// Whether the target gets the permission bits of the source.
    modes: ModePolicy,
}

impl Order {
    fn read(session: &Session, words: &[Word]) -> Result<Self, Failure> {
        let (mut is_from, mut is_dry_run, mut may_empty) = (false, false, false);
        let (mut rules, mut exclusions, mut modes) = (Rules::default(), Exclusions::default(), ModePolicy::AllFiles);
        let (mut operands, mut words) = (Vec::new(), words.iter());
        while let Some(word) = words.next() {
            match word.as_str() {
                _ if !word.is_option() => operands.push(word),
                "--from" => is_from = true,
                "--allow-empty" => may_empty = true,
                "--checksum" => rules.by_content = true,
                "--delete" => rules.with_delete = true,
                "--dry-run" => is_dry_run = true,
                NO_PERMS => modes = ModePolicy::Ignore,
                "--exclude" => match words.next() {
                    Some(pattern) => exclusions.add(pattern),
                    None => return Err(usage("mirror", "--exclude needs a pattern")),
                },
                "--" => operands.extend(words.by_ref()),
                text if text.starts_with(EXCLUDE_IS) => exclusions.add(&word.behind(EXCLUDE_IS.len())),
                _ => return Err(no_option("mirror", word)),
            }
        }
        let [from, to] = operands[..] else { return Err(usage("mirror", "it needs two directories")) };
        let (local, remote) = if is_from { (to, from) } else { (from, to) };
        let (local, remote) = (local_path(local), session.path(remote)?);
        let mask = if is_from { umask() } else { UMASK };
        rules.modes_but = (modes != ModePolicy::Ignore).then_some(mask);
        Ok(Self { local, remote, is_from, is_dry_run, may_empty, rules, exclusions, modes })
    }

    fn carry_out(&self, session: &mut Session) -> Result<(), Failure> {
        let mut summary = Summary::new("mirror", false).with_removals();
        self.tell_direction(session);
        let found = self.look_around(session, &mut summary)?;
        let (source, target) = if self.is_from { (&found.there, &found.here) } else { (&found.here, &found.there) };
        let mut plan = self.plan(session, &mut summary, source, target)?;
        if !found.is_source_whole && !plan.extra.is_empty() {
            plan.extra.clear();
            session.output.note("nothing is removed, because not everything could be read");
        }
        self.tell_what_stays(session, &mut summary, &plan, source, target)?;
        if self.is_dry_run {
            return self.tell_plan(session, summary, &plan);
        }
        self.refuse_to_empty(source, &plan)?;
        if !plan.is_empty() || self.is_from || !found.is_there {
            self.make_root(session, found.root_mode)?;
        }
        summary.were_there(plan.same);
        summary.plan(plan.files.len(), plan.bytes());
        let result = self.carry_out_plan(session, &mut summary, &found, plan);
        summary.conclude(session, result)
    }

    fn carry_out_plan(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        found: &Found,
        mut plan: Plan,
    ) -> Result<(), Failure> {
        let (source, target) = if self.is_from { (&found.there, &found.here) } else { (&found.here, &found.there) };
        self.remove_useless_parts(&plan, &found.parts);
        self.remove(session, summary, target, &plan.in_the_way)?;
        let spellings = self.spellings(source, target);
        let mut missing = self.make_folders(session, summary, source, &plan.folders)?;
        let folders = plan.folders.clone();
        let settled = self.settle_spellings(session, summary, &spellings, source, &mut plan, &folders)?;
        missing.extend(settled.doubled);
        plan.files.retain(|file| !missing.iter().any(|folder| folder.contains(&file.path)));
        self.settle_local_spellings(session, summary, &spellings, source, &mut plan, &settled.kept)?;
        let mut occupied = self.move_files(session, summary, &plan)?;
        let settled = self.settle_spellings(session, summary, &spellings, source, &mut plan, &occupied)?;
        occupied.retain(|path| !settled.doubled.contains(path));
        self.move_occupied(session, summary, source, &occupied)?;
        self.change_modes(session, summary, &plan)?;
        if self.is_from {
            self.keep_what_arrived(&mut plan, &folders);
        }
        self.remove(session, summary, target, &plan.extra)
    }

    /// Tells the user the direction, because `mirror` of other programs goes the other way. In a script,
    /// standard error carries only problems, so nothing is written.
    fn tell_direction(&self, session: &mut Session) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let (here, there) = (shown(&self.local), format!("{}:{}", Escaped(session.peer.as_bytes()), self.remote));
        match self.is_from {
            true => session.output.note(format_args!("mirror: from {there} to the local {here}")),
            false => session.output.note(format_args!("mirror: from the local {here} to {there}")),
        }
    }

    /// Refuses to empty the target for a source without files. That is usually a mistake, such as a missing
    /// mount or a wrong name.
    fn refuse_to_empty(&self, source: &Tree, plan: &Plan) -> Result<(), Failure> {
        let removed = plan.extra.len() + plan.in_the_way.len();
        if self.may_empty || removed == 0 || source.has_files() {
            return Ok(());
        }
        let (from, to) = match self.is_from {
            true => (format!("remote {}", self.remote), format!("local {}", shown(&self.local))),
            false => (format!("local {}", shown(&self.local)), format!("remote {}", self.remote)),
        };
        Err(Failure::Local(format!(
            "{from} has no files, so --delete would remove {removed} from {to}; --dry-run lists them, --allow-empty removes them"
        )))
    }

    fn here(&self, path: &VPath) -> PathBuf {
        if path.is_root() { self.local.clone() } else { self.local.join(path.relative()) }
    }

    fn there(&self, path: &VPath) -> Result<VPath, Failure> {
        let whole = path.components().try_fold(self.remote.clone(), |whole, name| whole.child(name));
        whole.map_err(|error| Failure::Local(format!("{}: {error}", relative(path))))
    }

    /// Converts the remote path `there` to a path below the root of the tree.
    fn below(&self, there: &VPath) -> Result<VPath, Failure> {
        let mut names = there.components().skip(self.remote.components().count());
        let path = names.try_fold(VPath::root(), |path, name| path.child(name));
        path.map_err(|error| Failure::Local(format!("{there}: {error}")))
    }

    fn plan(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        source: &Tree,
        target: &Tree,
    ) -> Result<Plan, Failure> {
        let mut plan = Plan::new(source, target, self.rules);
        self.settle_alike(session, summary, &mut plan)?;
        Ok(plan)
    }

    /// Compares the files whose digests decide: identical files are done, the others are transferred.
    fn settle_alike(&self, session: &mut Session, summary: &mut Summary, plan: &mut Plan) -> Result<(), Failure> {
        let alike = std::mem::take(&mut plan.alike);
        let places: Vec<(PathBuf, VPath)> = alike
            .iter()
            .map(|file| Ok((self.here(&file.path), self.there(&file.path)?)))
            .collect::<Result<_, Failure>>()?;
        let pairs: Vec<(&Path, &VPath)> = places.iter().map(|(here, there)| (here.as_path(), there)).collect();
        let mut results = Vec::with_capacity(pairs.len());
        same_contents(session, &pairs, |result| results.push(result))?;
        for (file, result) in alike.into_iter().zip(results) {
            match result {
                Ok(Some(_)) => plan.same += 1,
                Ok(None) => plan.files.push(file),
                Err(failure) => summary.count(session, Err(failure))?,
            }
        }
        Ok(())
    }

    // ---- Actions ----------------------------------------------------------------------------

    /// Creates the root even if it exists: an account that may only read then gets one failure, and not one for
    /// each file.
    fn make_root(&self, session: &mut Session, mode: Option<u32>) -> Result<(), Failure> {
        if self.is_from {
            return self.make_local_root(mode).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Failure::file_above_here(&self.local),
                _ => Failure::local(&self.local, &error),
            });
        }
        let permissions = mode.and_then(|mode| self.modes.of_folder(mode));
        session.call(&Request::Mkdir { path: (&self.remote).into(), parents: true, permissions }).map(drop)
    }

    fn make_local_root(&self, mode: Option<u32>) -> io::Result<()> {
        if let Some(above) = self.local.parent() {
            fs::create_dir_all(above)?;
        }
        match create_folder(&self.local, mode.and_then(|mode| self.modes.of_folder(mode))) {
            Err(_) if self.local.is_dir() => Ok(()),
            made => made,
        }
    }

    /// Creates directories. Returns the local ones that could not be created.
    fn make_folders(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        source: &Tree,
        folders: &[VPath],
    ) -> Result<Vec<VPath>, Failure> {
        let (mut requests, mut missing) = (Vec::new(), Vec::<VPath>::new());
        for path in folders {
            let mode = source.get(path).and_then(|node| node.mode);
            let permissions = mode.and_then(|mode| self.modes.of_folder(mode));
            if self.is_from {
                if missing.iter().any(|folder| folder.contains(path)) {
                    continue;
                }
                let here = self.here(path);
                let made = match create_folder(&here, permissions) {
                    Err(_) if fs::symlink_metadata(&here).is_ok_and(|there| there.is_dir()) => Ok(()),
                    made => made.map_err(|error| Failure::local(&here, &error)),
                };
                if made.is_err() {
                    missing.push(path.clone());
                }
                self.conclude(session, summary, "mkdir", path, made)?;
            } else {
                // `parents` accepts a directory that was created meanwhile.
                requests.push(Request::Mkdir { path: (&self.there(path)?).into(), parents: true, permissions });
            }
        }
        self.ask_each(session, summary, "mkdir", folders, &requests)?;
        Ok(missing)
    }

    /// Collects the names in the source, and those in a target from which something may be removed, that the target
    /// may treat as the same name.
    fn spellings(&self, source: &Tree, target: &Tree) -> Spellings {
        let removable = target.paths().take(if self.rules.with_delete { usize::MAX } else { 0 });
        Spellings::among(source.paths().chain(removable.filter(|path| source.get(path).is_none())).map(VPath::as_bytes))
    }

    /// Checks new local files in the same way. A file that replaces one with another spelling of its name, or of
    /// one of the directories in `respelled`, must be allowed to replace it.
    fn settle_local_spellings(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        spellings: &Spellings,
        source: &Tree,
        plan: &mut Plan,
        respelled: &HashSet<VPath>,
    ) -> Result<(), Failure> {
        if !self.is_from || spellings.is_empty() {
            return Ok(());
        }
        let is_there = |file: &&Move| !file.replaces && fs::symlink_metadata(self.here(&file.path)).is_ok();
        let paths: Vec<VPath> = plan.files.iter().filter(is_there).map(|file| file.path.clone()).collect();
        let settled = self.settle_spellings(session, summary, spellings, source, plan, &paths)?;
        plan.files.retain(|file| !settled.doubled.contains(&file.path));
        let is_respelled =
            |path: &VPath| std::iter::successors(path.parent(), VPath::parent).any(|of| respelled.contains(&of));
        for file in &mut plan.files {
            file.replaces |= settled.kept.contains(&file.path) || is_respelled(&file.path);
        }
        Ok(())
    }

    /// Checks whether the target lists the existing `paths` under other names. If such a name was to be removed
    /// from the target, it stays. If it is also in the source, this is a failure.
    fn settle_spellings(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        spellings: &Spellings,
        source: &Tree,
        plan: &mut Plan,
        paths: &[VPath],
    ) -> Result<Settled, Failure> {
        let listed = spellings.listed_otherwise(paths.iter().map(VPath::as_bytes), |folder| {
            let Ok(folder) = VPath::parse(if folder.is_empty() { b"/" } else { folder }) else { return Ok(None) };
            if self.is_from {
                return Ok(names_in(self.here(&folder).as_os_str().as_bytes()));
            }
            session.names(self.there(&folder)?.as_bytes())
        })?;
        let mut settled = Settled::default();
        for path in paths {
            let other = listed.get(path.as_bytes()).and_then(|other| VPath::parse(other).ok());
            let Some(other) = other else { continue };
            plan.extra.retain(|extra| !other.contains(extra));
            if source.get(&other).is_some() {
                let side = if self.is_from { "local" } else { "server's" };
                let told = format!(
                    "{} and {} are the same to the {side} file system; give one another name",
                    relative(path),
                    relative(&other)
                );
                summary.count(session, Err(Failure::Local(told)))?;
                settled.doubled.insert(path.clone());
            } else {
                settled.kept.insert(path.clone());
            }
        }
        Ok(settled)
    }

    /// Removes from the plan what the local file system treats as the same as something that arrived. The list of
    /// names that it may treat as the same is not complete, but the identity of a file is.
    fn keep_what_arrived(&self, plan: &mut Plan, folders: &[VPath]) {
        if plan.extra.is_empty() {
            return;
        }
        let id = |path: &VPath| {
            let metadata = fs::symlink_metadata(self.here(path)).ok()?;
            // Several names of one file are several entries.
            let is_single = metadata.is_dir() || metadata.nlink() == 1;
            is_single.then(|| (metadata.dev(), metadata.ino()))
        };
        let arrived: HashSet<(u64, u64)> =
            plan.files.iter().map(|file| &file.path).chain(folders).filter_map(id).collect();
        plan.extra.retain(|path| !id(path).is_some_and(|id| arrived.contains(&id)));
    }

    fn remove(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        tree: &Tree,
        paths: &[VPath],
    ) -> Result<(), Failure> {
        let mut requests = Vec::new();
        for path in paths {
            let is_folder = tree.get(path).is_some_and(|node| node.kind == EntryKind::Dir);
            if self.is_from {
                let here = self.here(path);
                let removed = if is_folder { fs::remove_dir(&here) } else { fs::remove_file(&here) };
                self.conclude(session, summary, "rm", path, removed.map_err(|error| Failure::local(&here, &error)))?;
            } else {
                let path = Name::from(&self.there(path)?);
                requests.push(if is_folder { Request::Rmdir { path } } else { Request::Rm { path } });
            }
        }
        self.ask_each(session, summary, "rm", paths, &requests)
    }

    fn ask_each(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        action: &str,
        paths: &[VPath],
        requests: &[Request],
    ) -> Result<(), Failure> {
        let mut results = Vec::with_capacity(requests.len());
        session.call_each(requests, |_, at, result| results.push((at, result.map(drop))))?;
        results.into_iter().try_for_each(|(at, result)| self.conclude(session, summary, action, &paths[at], result))
    }

    fn conclude(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        action: &str,
        path: &VPath,
        result: Result<(), Failure>,
    ) -> Result<(), Failure> {
        match result {
            // Another program removed it first.
            Err(failure) if action == "rm" && failure.is_refusal(ErrorCode::NotFound) => return Ok(()),
            // The target directory refuses changes, so every other change would fail too.
            Err(failure) if self.direction().is_denied_at_destination(&failure) && is_top(path) => {
                return Err(summary.stop(failure));
            }
            Err(failure) => return summary.count(session, Err(failure)),
            Ok(()) if action == "rm" => summary.removed(),
            Ok(()) => {}
        }
        self.tell(session, action, path, None)
    }

    /// Removes parts of an interrupted mirror that this one will not resume.
    fn remove_useless_parts(&self, plan: &Plan, parts: &[PathBuf]) {
        if !(self.is_from && self.rules.with_delete) {
            return;
        }
        let wanted: HashSet<PathBuf> = plan.files.iter().map(|file| self.here(&file.path)).collect();
        let is_useless = |part: &&PathBuf| destination_of_part(part).is_some_and(|of| !wanted.contains(&of));
        parts.iter().filter(is_useless).for_each(|part| remove_part(part));
    }

    /// Transfers the files of the plan. Returns those whose destination was created meanwhile.
    fn move_files(&self, session: &mut Session, summary: &mut Summary, plan: &Plan) -> Result<Vec<VPath>, Failure> {
        let mut occupied = Vec::new();
        let mut progress = Progress::of_files(session.progress, plan.files.len(), plan.bytes());
        let jobs = plan.files.iter().map(|file| self.job(file)).collect::<Result<_, _>>()?;
        transfer_all(session, self.direction(), jobs, &mut progress, |session, (job, result)| match result {
            Err(failure) if !self.is_from && failure.is_refusal(ErrorCode::Exists) => {
                occupied.push(self.below(&job.remote)?);
                Ok(())
            }
            result => self.conclude_move(session, summary, &job, result),
        })?;
        Ok(occupied)
    }

    /// Compares files whose destination was created since the scan, and transfers those that differ. An
    /// interrupted mirror may have sent such files.
    fn move_occupied(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        source: &Tree,
        occupied: &[VPath],
    ) -> Result<(), Failure> {
        let (mut wanted, mut there) = (Tree::default(), Tree::default());
        let mut requests = Vec::with_capacity(occupied.len());
        for path in occupied {
            if let Some(node) = source.get(path) {
                wanted.add(path.clone(), *node);
            }
            requests.push(Request::Stat { path: (&self.there(path)?).into() });
        }
        session.call_each(&requests, |_, at, result| {
            // If the entry cannot be examined, the file is sent and refused again.
            if let Ok(Reply::Stat { entry, .. }) = result {
                there.add(occupied[at].clone(), Node::from(&entry));
            }
        })?;
        let plan = self.plan(session, summary, &wanted, &there)?;
        self.tell_what_stays(session, summary, &plan, &wanted, &there)?;
        summary.were_there(plan.same);
        for path in self.move_files(session, summary, &plan)? {
            let text = format!("{} is being changed by somebody else; run the command again", relative(&path));
            summary.count(session, Err(Failure::Local(text)))?;
        }
        Ok(())
    }

    fn direction(&self) -> Direction {
        if self.is_from { Direction::Download } else { Direction::Upload }
    }

    fn job(&self, file: &Move) -> Result<TransferJob, Failure> {
        Ok(TransferJob {
            local: self.here(&file.path),
            remote: self.there(&file.path)?,
            size: file.size,
            replace: file.replaces,
            modes: if self.is_from && file.mode.is_none() { ModePolicy::Ignore } else { self.modes },
            source_mode: file.mode,
        })
    }

    fn conclude_move(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        job: &TransferJob,
        result: Result<Transferred, Failure>,
    ) -> Result<(), Failure> {
        if let Err(failure) = &result
            && self.direction().is_denied_at_destination(failure)
            && !job.replace
            && is_top(&self.below(&job.remote)?)
        {
            return Err(summary.stop(failure.clone()));
        }
        let result = result.and_then(|transferred| {
            let Transferred { size, sha256, resumed_from } = transferred;
            summary.moved(transferred.moved_bytes(), size);
            self.tell(session, self.verb(), &self.below(&job.remote)?, Some((size, Some((sha256, resumed_from)))))
        });
        summary.count(session, result)
    }

    /// Gives entries that exist in both trees the permission bits of the source. If the target cannot store
    /// them, one remark says so.
    fn change_modes(&self, session: &mut Session, summary: &mut Summary, plan: &Plan) -> Result<(), Failure> {
        let moved: HashSet<&VPath> = plan.files.iter().map(|file| &file.path).collect();
        let changes: Vec<&ModeChange> = plan.modes.iter().filter(|change| !moved.contains(&change.path)).collect();
        if changes.is_empty() {
            return Ok(());
        }
        if !self.is_from && !session.link.keeps_permissions() {
            session.output.note(format_args!(
                "the server is an older version that keeps no permissions, so those of {} stay as they are; update it, or use --no-perms",
                entries(changes.len())
            ));
            return Ok(());
        }
        let mut refused = Vec::new();
        for (change, result) in changes.iter().zip(self.mode_results(session, &changes)?) {
            match result {
                Ok(mode) if mode == change.now => {}
                Ok(_) => {
                    summary.mode_changed();
                    self.tell(session, "chmod", &change.path, None)?;
                }
                // Another program has removed the entry.
                Err(failure) if failure.is_refusal(ErrorCode::NotFound) => {}
                Err(failure) if failure.ends_session() => return Err(failure),
                Err(failure) => refused.push(failure),
            }
        }
        if let Some(first) = refused.first() {
            session.output.note(format_args!(
                "the permissions of {} stay as they are: {first}; --no-perms leaves them out",
                entries(refused.len())
            ));
        }
        Ok(())
    }

    /// Requests each of `changes` and returns the permission bits that each entry has afterwards.
    fn mode_results(
        &self,
        session: &mut Session,
        changes: &[&ModeChange],
    ) -> Result<Vec<Result<u32, Failure>>, Failure> {
        if self.is_from {
            let change = |change: &&ModeChange| {
                let here = self.here(&change.path);
                let changed = modes::change(&here, change.bits, change.is_folder);
                changed.map_err(|error| Failure::local(&here, &error))
            };
            return Ok(changes.iter().map(change).collect());
        }
        let request = |change: &&ModeChange| {
            Ok(Request::SetPermissions { path: (&self.there(&change.path)?).into(), permissions: change.bits })
        };
        let requests = changes.iter().map(request).collect::<Result<Vec<_>, Failure>>()?;
        let mut results = Vec::with_capacity(requests.len());
        session.call_each(&requests, |_, _, result| {
            results.push(result.and_then(|reply| match reply {
                Reply::Permissions { permissions } => Ok(permissions),
                _ => Err(unexpected()),
            }));
        })?;
        Ok(results)
    }

    // ---- Reports --------------------------------------------------------------------------

    fn verb(&self) -> &'static str {
        self.direction().command()
    }

    /// Reports one action that was done or is planned. For a file it includes the size, and the digest after
    /// the transfer.
    fn tell(
        &self,
        session: &mut Session,
        action: &str,
        path: &VPath,
        file: Option<(u64, Option<(Digest, u64)>)>,
    ) -> Result<(), Failure> {
        if self.is_dry_run {
            let size = file.map(|(size, _)| format!("  {}", Size(size))).unwrap_or_default();
            session.output.line(format_args!("{action:<5} {}{size}", relative(path)))?;
        }
        let proof = file.and_then(|(_, proof)| proof);
        session.output.json(&json!({
            "command": "mirror", "ok": true, "action": action, "path": Name(path.as_bytes()[1..].to_vec()),
            "size": file.map(|(size, _)| size), "sha256": proof.map(|(sha256, _)| sha256),
            "resumed_from": proof.map(|(_, from)| from), "status": if self.is_dry_run { "planned" } else { "done" },
        }))
    }

    fn tell_what_stays(
        &self,
        session: &mut Session,
        summary: &mut Summary,
        plan: &Plan,
        source: &Tree,
        target: &Tree,
    ) -> Result<(), Failure> {
        for path in &plan.left_out {
            session.output.note(format_args!("{} is no regular file: left out", relative(path)));
        }
        for path in &plan.blocked {
            let (new_side, old_side) = if self.is_from { ("remote", "local") } else { ("local", "remote") };
            let (new, old) = (kind_at(source, path), kind_at(target, path));
            let text = format!(
                "{} is of another kind: the {new_side} one is {new}, the {old_side} one {old}; \
                 --delete replaces the {old_side} one",
                relative(path)
            );
            summary.count(session, Err(Failure::Local(text)))?;
        }
        Ok(())
    }

    fn tell_plan(&self, session: &mut Session, mut summary: Summary, plan: &Plan) -> Result<(), Failure> {
        for path in &plan.in_the_way {
            self.conclude(session, &mut summary, "rm", path, Ok(()))?;
        }
        for path in &plan.folders {
            self.conclude(session, &mut summary, "mkdir", path, Ok(()))?;
        }
        for file in &plan.files {
            summary.moved(file.size, file.size);
            let told = self.tell(session, self.verb(), &file.path, Some((file.size, None)));
            summary.count(session, told)?;
        }
        let moved: HashSet<&VPath> = plan.files.iter().map(|file| &file.path).collect();
        for change in plan.modes.iter().filter(|change| !moved.contains(&change.path)) {
            summary.mode_changed();
            self.tell(session, "chmod", &change.path, None)?;
        }
        for path in &plan.extra {
            self.conclude(session, &mut summary, "rm", path, Ok(()))?;
        }
        summary.were_there(plan.same);
        summary.summarize_plan(session)?;
        summary.finish()
    }
}

/// Paths that the target lists under another name.
#[derive(Default)]
struct Settled {
    /// The other name is also in the source.
    doubled: HashSet<VPath>,
    /// The other name is not in the source, so its file stays.
    kept: HashSet<VPath>,
}

/// Names the kind of the entry at `path`.
fn kind_at(tree: &Tree, path: &VPath) -> &'static str {
    match tree.get(path).map(|node| node.kind) {
        Some(EntryKind::File) => "a file",
        Some(EntryKind::Dir) => "a directory",
        Some(EntryKind::Link) => "a link",
        _ => "no regular file",
    }
}

fn entries(count: usize) -> String {
    if count == 1 { "1 entry".into() } else { format!("{count} entries") }
}

/// Returns whether `path` is directly in the root of the tree.
fn is_top(path: &VPath) -> bool {
    path.depth() == 1
}

/// Formats a path relative to the root of the tree.
fn relative(path: &VPath) -> Escaped<'_> {
    Escaped(&path.as_bytes()[1..])
}

const EXCLUDE_IS: &str = "--exclude=";
