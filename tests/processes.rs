//! The programs as they are installed: a real `berthd` on port 0, the real `berth`, and real files.

mod support;

mod processes {
    mod accounts;
    mod crash;
    mod ftp;
    mod hostile_clients;
    mod hosts;
    mod logs;
    mod lost_connections;
    mod mirror;
    mod names;
    mod panics;
    mod programs;
    mod quota_race;
    mod scripts;
    mod server_life;
    mod shell_commands;
    mod status;
    mod terminal;
    mod tls;
    mod two_connections;
    mod usage;
}
