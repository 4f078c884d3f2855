//! The programs as they are installed: a real `berthd` on port 0, the real `berth`, and real files.

mod support;

mod processes {
    mod accounts;
    mod admin_status;
    mod admin_usage;
    mod crash;
    mod end_to_end;
    mod ftp;
    mod hostile_clients;
    mod logs;
    mod lost_connections;
    mod mirror;
    mod named_hosts;
    mod names;
    mod panics;
    mod quota_race;
    mod scripting;
    mod server_life;
    mod shell_commands;
    mod terminal;
    mod tls;
    mod two_connections;
}
