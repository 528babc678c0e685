//! A library that is not the one for the tables, or is replaced while it is at work.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{create_database, install, one, run_one, task, wait_asleep};
use crate::harness::queue::{status, wait_status};

#[test]
fn a_library_of_another_version_says_so_once_and_waits() {
    let cluster = Cluster::start(&[("pg_errand.max_idle_time", "50ms"), ("pg_errand.poll_interval", "1h")]);
    let mut client = install(&cluster, "postgres");
    let mut other = create_database(&cluster, "other");
    run_one(&mut client, "before");
    let ours: String = one(&mut client, "select extversion from pg_extension where extname = 'pg_errand'");
    for version in ["0.0.1", "99.0"] {
        wait_asleep(&mut client);
        let mark = cluster.log_mark();
        let set = |version: &str| {
            format!("update pg_extension set extversion = '{version}' where extname = 'pg_errand'")
        };
        client.batch_execute(&set(version)).unwrap();
        let waiting: Vec<i64> =
            (0..5).map(|n| task(&mut client, "note", json!({"label": n.to_string()}))).collect();
        let line = cluster.wait_log(mark, &format!("version {version}"));
        assert!(line.contains(&ours), "{line}");
        // Others go on, and it is not said again.
        for n in 0..3 {
            task(&mut client, "note", json!({"label": "more"}));
            run_one(&mut other, &n.to_string());
        }
        let log = cluster.log_since(mark);
        assert_eq!(log.lines().filter(|line| line.contains("its tasks wait")).count(), 1, "{log}");
        assert!(!log.contains("FATAL:") && !log.contains("exited with exit code"), "{log}");
        assert_eq!(status(&mut client, waiting[0]), "ready");
        client.batch_execute(&set(&ours)).unwrap();
        run_one(&mut client, "afterwards");
        for id in waiting {
            wait_status(&mut client, id, "succeeded");
        }
    }
}

#[test]
fn a_library_replaced_while_it_is_at_work_is_used_only_after_a_restart() {
    // A copy of the library, in a directory that is looked at first.
    let directory =
        std::env::temp_dir().canonicalize().unwrap().join(format!("pge-lib-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let at_first = Cluster::start(&[("shared_preload_libraries", "")]);
    let mut client = at_first.connect("postgres");
    let libraries: String = one(&mut client, "select setting from pg_config where name = 'PKGLIBDIR'");
    drop((client, at_first));
    let library = directory.join("pg_errand.so");
    fs::copy(format!("{libraries}/pg_errand.so"), &library).unwrap();
    let path = format!("{}:$libdir", directory.display());
    let cluster = Cluster::start(&[("dynamic_library_path", &path), ("pg_errand.max_idle_time", "50ms")]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "before");
    let maps = fs::read_to_string(format!("/proc/{}/maps", cluster.postmaster_pid())).unwrap();
    assert!(maps.contains(&*library.to_string_lossy()), "another library is loaded");
    wait_asleep(&mut client);

    // As package managers do it: another file under the same name. This one cannot be loaded at all.
    let newer = directory.join("newer");
    fs::write(&newer, "no library").unwrap();
    fs::rename(&newer, &library).unwrap();
    let mark = cluster.log_mark();
    let mut fresh = cluster.connect("postgres");
    run_one(&mut fresh, "in a new session, by a new worker");
    // A crash of the server, which keeps its postmaster.
    let launcher: i32 = one(
        &mut fresh,
        "select max(pid) from pg_stat_activity where application_name = 'pg_errand launcher'",
    );
    cluster.crash(launcher, libc::SIGKILL);
    let mut client = cluster.connect("postgres");
    run_one(&mut client, "after a crash");
    let log = cluster.log_since(mark);
    assert!(!log.contains("ERROR:") && !log.contains("could not load"), "{log}");

    fs::copy(format!("{libraries}/pg_errand.so"), &newer).unwrap();
    fs::rename(&newer, &library).unwrap();
    drop(client);
    cluster.restart(StopMode::Fast);
    run_one(&mut cluster.connect("postgres"), "after the restart");
    fs::remove_dir_all(&directory).unwrap();
}
