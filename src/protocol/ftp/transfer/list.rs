//! Listings of one directory or a whole tree, over a data connection or within a reply.

use super::list_format::{List, ListFormat, prefix, put_heading};
use super::tree::Tree;
use super::{Activity, Ftp, FtpContext, REPLY_DIRECTORY_STATUS, TransferKind, check_connection};
use crate::base::budget::ENTRY_COST;
use crate::base::memory::Charge;
use crate::base::virtual_path::{NAME_BYTES_MAX, VirtualPath};
use crate::protocol::ftp::argument::list_options;
use crate::protocol::ftp::list_options::{OPTIONS, Options, split_pattern};
use crate::protocol::ftp::listing;
use crate::protocol::ftp::parse_error::ParseError;
use crate::protocol::ftp::reply::subject;
use crate::session::SessionError;
use crate::session::task::TaskStep;
use crate::store::listing::Listed;
use crate::store::meta::{self, Meta};

/// The result of a step of a listing.
enum ListProgress {
    /// Nothing was done, because no memory is available, or a worker must answer first.
    Blocked,
    Progressed,
    Finished,
}

/// The parsed argument of `LIST` and similar.
struct ListRequest {
    path: VirtualPath,
    list: List,
}

impl Ftp {
    // ---- Beginning ------------------------------------------------------------------------

    /// `LIST` and `NLST`.
    pub(in crate::protocol::ftp) fn begin_listing(&mut self, form: ListFormat, text: &[u8], turn: &mut FtpContext) {
        let Some(ListRequest { path, mut list }) = self.request(form, text, turn) else { return };
        if list.options.itself && list.pattern.is_none() {
            if self.may_transfer(turn) {
                self.send_single_entry(path, list, turn);
            }
            return;
        }
        if list.options.recursive {
            let heading = if list.prefix.is_empty() { b".".to_vec() } else { std::mem::take(&mut list.prefix) };
            let heading = heading.strip_suffix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&heading).to_vec();
            let charge = self.session.memory().map(Charge::to).unwrap_or_default();
            list.tree = Some(Tree::new(heading, charge));
        }
        self.begin_list(path, list, turn);
    }

    /// `MLSD`.
    pub(in crate::protocol::ftp) fn begin_facts(&mut self, path: VirtualPath, turn: &mut FtpContext) {
        self.begin_list(path, List::new(ListFormat::Facts, Options::default(), Vec::new(), None), turn);
    }

    /// Parses `text`: an entry of exactly that name, else options and an entry, else a pattern.
    fn request(&self, form: ListFormat, text: &[u8], turn: &mut FtpContext) -> Option<ListRequest> {
        let (options, text) = match list_options(text, |name| self.is_there(name)) {
            Ok(read) => read,
            Err(wrong) => {
                turn.refuse_line(&wrong);
                return None;
            }
        };
        let form = if options.long { ListFormat::Long } else { form };
        let text = text.unwrap_or_default();
        let (directory, pattern) = match split_pattern(&text) {
            Some((directory, pattern)) if !self.is_there(&text) => (directory, Some(pattern)),
            _ => (&text[..], None),
        };
        if pattern.as_ref().is_some_and(|pattern| pattern.match_cost() > NAME_BYTES_MAX) {
            turn.reply(501, format!("Pattern too long; the limit is {NAME_BYTES_MAX} bytes."));
            return None;
        }
        let path = self.path_or_directory(Some(directory).filter(|directory| !directory.is_empty()), turn)?;
        Some(ListRequest { path, list: List::new(form, options, prefix(directory), pattern) })
    }

    /// Returns whether an entry has exactly the name `text`. If the path goes up, its first component must
    /// exist, too: otherwise `-la ../..` would be the current directory.
    pub(in crate::protocol::ftp) fn is_there(&self, text: &[u8]) -> bool {
        let is_entry = |text: &[u8]| self.directory.join(text).is_ok_and(|path| self.session.has_entry(&path));
        let mut components = text.split(|&byte| byte == b'/');
        let first = components.next().filter(|first| !matches!(*first, b"" | b"." | b".."));
        is_entry(text) && (first.is_none_or(is_entry) || !components.any(|component| component == b".."))
    }

    fn begin_list(&mut self, path: VirtualPath, list: List, turn: &mut FtpContext) {
        if !self.may_transfer(turn) {
            return;
        }
        let begun = match self.begin_directory(&path, &list) {
            Err(SessionError::NotADirectory) if list.form != ListFormat::Facts => {
                return self.send_single_entry(path, list, turn);
            }
            Err(SessionError::NotFound)
                if list.form != ListFormat::Facts && self.session.link_itself(&path).is_some() =>
            {
                return self.send_single_entry(path, list, turn);
            }
            // RFC 3659, section 7.2.1.
            Err(SessionError::NotADirectory) => {
                return turn.reply(501, format!("{}: not a directory; use MLST for a file.", subject(&path)));
            }
            begun => begun,
        };
        if let (Ok(()), Some(tree)) = (&begun, &list.tree) {
            turn.data.buffers_mut().output.append(|out| put_heading(out, &tree.heading));
        }
        self.begin(begun, TransferKind::List(list), path, turn);
    }

    fn begin_directory(&mut self, path: &VirtualPath, list: &List) -> Result<(), SessionError> {
        let (order, depth) = (list.options.order, path.components().count());
        let is_long = list.form == ListFormat::Long;
        self.session.begin_list_as(path, |listing| {
            let listing = listing.ordered(order);
            if is_long { listing.with_targets(depth) } else { listing }
        })
    }

    /// Lists a single entry in one line: a file, or a directory itself (`-d`).
    fn send_single_entry(&mut self, path: VirtualPath, list: List, turn: &mut FtpContext) {
        let found = self.stat_or_link(&path, turn);
        let entry = found.as_ref().ok().map(|meta| list.only_entry(&path, *meta));
        let list = List::new(list.form, list.options, Vec::new(), None);
        self.put_entries(&list, entry.as_slice(), turn);
        self.begin(found.map(|_| ()), TransferKind::List(list), path, turn);
    }

    fn stat_or_link(&self, path: &VirtualPath, turn: &FtpContext) -> Result<Meta, SessionError> {
        let found = self.session.stat(turn.service, path).map(|(meta, _)| meta);
        found.or_else(|refusal| self.link_or(refusal, path))
    }

    // ---- Continuing -----------------------------------------------------------------------

    pub(super) fn list(&mut self, turn: &mut FtpContext) -> Result<bool, SessionError> {
        check_connection(turn.data)?;
        if !turn.data.buffers().output.has_room() {
            return Ok(false);
        }
        let Activity::Transfer(mut transfer) = std::mem::replace(&mut self.activity, Activity::Nothing) else {
            return Ok(false);
        };
        let listed = match &mut transfer.kind {
            TransferKind::List(list) => self.send_page(list, turn),
            _ => Ok(ListProgress::Finished),
        };
        self.activity = Activity::Transfer(transfer);
        match listed? {
            ListProgress::Finished => self.finish(turn.data),
            ListProgress::Progressed => {}
            ListProgress::Blocked => return Ok(false),
        }
        Ok(true)
    }

    /// Takes the next page, or continues with the next directory.
    fn send_page(&mut self, list: &mut List, turn: &mut FtpContext) -> Result<ListProgress, SessionError> {
        if !self.session.has_task() {
            return Ok(self.list_next_directory(list, turn));
        }
        let entries = match self.session.run_task(turn.service, turn.budget, turn.now)? {
            TaskStep::Page(entries, _) => entries,
            TaskStep::Waits => return Ok(ListProgress::Blocked),
            _ => return Ok(ListProgress::Progressed),
        };
        turn.budget.spend(list.cost(&entries));
        self.put_entries(list, &entries, turn);
        let found =
            entries.iter().filter(|entry| entry.metadata.kind() == Some(meta::Kind::Directory) && list.has(entry));
        let found: Vec<&Listed> = found.collect();
        if let Some(tree) = &mut list.tree {
            found.iter().try_for_each(|entry| tree.add(&entry.name))?;
        }
        Ok(ListProgress::Progressed)
    }

    /// Begins to list the next directory of a tree.
    fn list_next_directory(&mut self, list: &mut List, turn: &mut FtpContext) -> ListProgress {
        let Some(tree) = &mut list.tree else { return ListProgress::Finished };
        if !list.is_opening {
            turn.budget.spend(ENTRY_COST);
            if !tree.descend() {
                return ListProgress::Finished;
            }
            turn.data.buffers_mut().output.append(|out| {
                out.extend_from_slice(b"\r\n");
                put_heading(out, &tree.heading);
            });
            (list.pattern, list.is_opening) = (None, true);
        }
        let path = self.directory.join(&tree.heading).ok().inspect(|path| turn.charge_for(path));
        self.session.begin_attempt();
        let is_begun = path.is_some_and(|path| self.begin_directory(&path, list).is_ok());
        if self.session.is_attempt_blocked() {
            return ListProgress::Blocked;
        }
        self.session.end_request();
        list.is_opening = false;
        if let Some(tree) = list.tree.as_mut().filter(|_| !is_begun) {
            tree.skipped += 1;
        }
        ListProgress::Progressed
    }

    fn put_entries(&mut self, list: &List, entries: &[Listed], turn: &mut FtpContext) {
        let now_ns = turn.service.store.clock.now_ns();
        let may_write = !self.session.is_read_only();
        turn.data.buffers_mut().output.append(|out| {
            for entry in entries.iter().filter(|entry| list.has(entry)) {
                let start = out.len();
                list.put(out, entry, now_ns, self.facts, may_write);
                listing::end_line(out, start);
            }
        });
    }

    // ---- Within a reply -------------------------------------------------------------------

    /// `STAT` of a path lists on the control connection (RFC 959, section 4.1.3).
    pub(in crate::protocol::ftp) fn begin_status_of(&mut self, text: &[u8], turn: &mut FtpContext) {
        let Some(ListRequest { path, list }) = self.request(ListFormat::Long, text, turn) else { return };
        if list.options.recursive {
            return turn.refuse_line(&ParseError::Option(b'R', OPTIONS));
        }
        let is_one = list.options.itself && list.pattern.is_none();
        let begun = if is_one { Err(SessionError::NotADirectory) } else { self.begin_directory(&path, &list) };
        match begun {
            Ok(()) => {
                turn.begin_status(REPLY_DIRECTORY_STATUS);
                self.activity = Activity::ListingStatus(Box::new(list));
            }
            Err(SessionError::NotADirectory | SessionError::NotFound) => match self.stat_or_link(&path, turn) {
                Ok(meta) => {
                    turn.begin_status(213);
                    turn.add_status(&list, &[list.only_entry(&path, meta)]);
                    turn.reply(213, "End of listing.");
                }
                Err(refusal) => turn.refuse(refusal, Some(&path)),
            },
            Err(refusal) => turn.refuse(refusal, Some(&path)),
        }
    }
}
