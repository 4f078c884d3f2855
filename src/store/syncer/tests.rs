use std::sync::Mutex;
use std::task::Poll;

use super::*;
use crate::base::disk_sync;
use crate::store::workers::operations::CallError;

const PATIENCE: Duration = Duration::from_secs(30);

fn file_system(device: u64, account: u64) -> FileSystem {
    let path: Rc<Path> = Path::new("/homes").into();
    FileSystem { device, account, home: Rc::clone(&path), path }
}

fn file() -> Arc<File> {
    Arc::new(tempfile::tempfile().expect("file"))
}

fn unsynced(syncer: &mut Syncer, caller: u64, account: u64, file: &Arc<File>) -> Unsynced {
    syncer.register_unsynced(caller, file_system(1, account), file, Rc::new(|| {}))
}

#[test]
fn results_name_their_session_and_wake_the_loop() {
    let (wakes, woken) = channel();
    let mut syncer = Syncer::start(move || {
        let _ = wakes.send(());
    });
    let ticket = syncer.sync(7, &file_system(1, 1), file(), Rc::new(|| {}));
    woken.recv().expect("woken");
    let synced = syncer.take_synced().expect("answer");
    assert_eq!((synced.caller, synced.ticket, synced.result.is_ok()), (7, ticket, true));
    assert!(syncer.take_synced().is_none());
}

#[test]
fn a_panic_ends_one_call_or_operation_and_tells_its_session() {
    let mut syncer = Syncer::held(disk_sync::sync);
    syncer.set_prompt(false);
    let file_system = syncer.home_file_system(file_system(1, 1), false);
    let end = |syncer: &mut Syncer, caller| {
        assert!(syncer.run_held(|waiting| waiting == caller));
        assert_eq!(syncer.operations().take_completed(), Some(caller));
    };
    let here = file_system.clone();
    let mut call = syncer.operations().begin(7, async move { here.run(|| panic!("a test")).await });
    end(&mut syncer, 7);
    assert!(matches!(call.take(), Poll::Ready(Some(Err::<(), _>(CallError::Defect)))));
    let here = file_system.clone();
    let mut operation = syncer.operations().begin(8, async move {
        let _ = here.run(|| ()).await;
        panic!("a test")
    });
    end(&mut syncer, 8);
    assert!(matches!(operation.take(), Poll::Ready(None::<()>)));
    let mut next = syncer.operations().begin(9, async move { file_system.run(|| 5).await });
    end(&mut syncer, 9);
    assert!(matches!(next.take(), Poll::Ready(Some(Ok(5)))));
}

#[test]
fn without_threads_a_sync_waits_until_it_is_run() {
    let mut syncer = Syncer::held(disk_sync::sync);
    syncer.sync(1, &file_system(1, 1), file(), Rc::new(|| {}));
    assert!(syncer.has_held() && syncer.take_synced().is_none());
    assert!(!syncer.run_held(|caller| caller == 2) && syncer.run_held(|caller| caller == 1));
    assert!(syncer.take_synced().is_some_and(|synced| synced.result.is_ok()));
    assert!(!syncer.has_held() && !syncer.has_work());
}

#[test]
fn an_upload_that_ends_leaves_the_total() {
    let (mut syncer, file) = (Syncer::held(disk_sync::sync), file());
    let (one, two) = (unsynced(&mut syncer, 1, 1, &file), unsynced(&mut syncer, 2, 1, &file));
    syncer.record_written(&one, UNSYNCED_BYTES_MAX_TOTAL, 0);
    syncer.record_written(&two, 5, 5);
    two.subtract(2);
    assert!(two.is_at_bound(), "the account has all there is");
    drop(one);
    assert!(!two.is_at_bound());
}

/// Each upload has one byte less than the size that triggers a sync.
#[test]
fn idle_uploads_of_one_account_are_synced_and_do_not_delay_another_account() {
    let (mut syncer, file) = (Syncer::held(disk_sync::sync), file());
    let idle: Vec<Unsynced> = (0..9).map(|caller| unsynced(&mut syncer, caller, 1, &file)).collect();
    for one in &idle[..8] {
        syncer.record_written(one, SYNC_STEP_BYTES - 1, SYNC_STEP_BYTES - 1);
    }
    assert!(!syncer.has_held());
    syncer.record_written(&idle[8], SYNC_STEP_BYTES - 1, SYNC_STEP_BYTES - 1);
    assert_eq!(syncer.pending.len(), 9, "the total is at its bound, so all uploads above their share are synced");
    let other = unsynced(&mut syncer, 100, 2, &file);
    syncer.record_written(&other, 1 << 20, 1 << 20);
    assert!(idle[0].is_at_bound() && !other.is_at_bound());
    while syncer.run_held(|_| true) {}
    while let Some(synced) = syncer.take_synced() {
        let (bytes, _) = idle[synced.caller as usize].end_sync(synced.ticket).expect("its own");
        idle[synced.caller as usize].subtract(bytes);
    }
    assert!(idle.iter().all(|one| !one.is_at_bound()));
}

#[test]
fn bytes_of_a_paused_upload_are_synced_after_a_while() {
    let (mut syncer, file, began) = (Syncer::held(disk_sync::sync), file(), Instant::now());
    let one = unsynced(&mut syncer, 1, 1, &file);
    let check = |syncer: &mut Syncer| {
        let at = syncer.next_at(PATIENCE).expect("a check is due");
        syncer.tick(at, PATIENCE);
        at
    };
    syncer.tick(began, PATIENCE);
    assert_eq!(syncer.next_at(PATIENCE), None);
    syncer.record_written(&one, 10, 10);
    check(&mut syncer);
    syncer.record_written(&one, 10, 20);
    check(&mut syncer);
    assert!(!syncer.has_held(), "bytes have come since the last check");
    let at = check(&mut syncer);
    assert!(syncer.run_held(|_| true) && at <= began + unsynced::IDLE_SYNC_INTERVAL * 3);
    let synced = syncer.take_synced().expect("synced");
    assert_eq!(one.end_sync(synced.ticket), Some((20, 20)));
    one.subtract(20);
    assert_eq!(syncer.next_at(PATIENCE), None, "no further check is due");
}

/// A syncer whose workers hang after their first result, until the sender is dropped.
fn stuck() -> (Syncer, std::sync::mpsc::Sender<()>, Receiver<()>) {
    let (go, wait) = channel::<()>();
    let (wakes, woken) = channel();
    let wait = Mutex::new(wait);
    let syncer = Syncer::start(move || {
        let _ = wakes.send(());
        let _ = wait.lock().map(|wait| wait.recv());
    });
    (syncer, go, woken)
}

#[test]
fn a_file_system_that_does_not_answer_is_given_up_until_it_does() {
    let (mut syncer, go, woken) = stuck();
    syncer.tick(Instant::now(), PATIENCE);
    let failures = Rc::new(std::cell::Cell::new(0));
    let count = Rc::clone(&failures);
    syncer.sync(1, &file_system(1, 1), file(), Rc::new(|| {}));
    woken.recv().expect("it hangs from now on");
    assert!(syncer.take_synced().is_some());
    let on_failure: OnFailure = Rc::new(move || count.set(count.get() + 1));
    let waits = syncer.sync(2, &file_system(1, 1), file(), on_failure);
    let due = syncer.next_at(PATIENCE).expect("a sync is pending");
    syncer.tick(due - Duration::from_millis(1), PATIENCE);
    assert!(syncer.take_synced().is_none() && syncer.unresponsive_file_systems().is_empty());
    syncer.tick(due, PATIENCE);
    let synced = syncer.take_synced().expect("the result NoAnswer");
    assert_eq!((synced.caller, synced.ticket), (2, waits));
    assert!(matches!(synced.result, Err(SyncError::NoAnswer)) && failures.get() == 0);
    assert_eq!((syncer.next_at(PATIENCE), syncer.unresponsive_file_systems().len()), (None, 1));
    // Later syncs are refused at once, except on other file systems.
    syncer.sync(3, &file_system(1, 1), file(), Rc::new(|| {}));
    let synced = syncer.take_synced().expect("at once");
    assert!(synced.caller == 3 && matches!(synced.result, Err(SyncError::NoAnswer)));
    syncer.sync(4, &file_system(2, 1), file(), Rc::new(|| {}));
    woken.recv().expect("another disk");
    assert!(syncer.take_synced().is_some_and(|synced| synced.caller == 4 && synced.result.is_ok()));
    // Any result shows that the file system answers again.
    syncer.home_file_system(file_system(1, 1), true).close(1, file());
    drop(go);
    woken.recv().expect("the worker has closed a file");
    assert!(syncer.take_synced().is_none() && syncer.unresponsive_file_systems().is_empty());
    syncer.sync(5, &file_system(1, 1), file(), Rc::new(|| {}));
    woken.recv().expect("it works again");
    assert!(syncer.take_synced().is_some_and(|synced| synced.caller == 5 && synced.result.is_ok()));
    assert!(syncer.pending.is_empty());
}
