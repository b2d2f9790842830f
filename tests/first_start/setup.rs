//! `scripts/setup` on a machine where something is missing, with an `apt-get` of the test's own.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// What the script itself calls. No C compiler, so that it has something to install.
const PROGRAMS: &[&str] =
    &["bash", "cat", "cmp", "dirname", "env", "mkdir", "mktemp", "readlink", "rm", "sleep", "tee"];

/// A path on which these programs are found, an `apt-get` that does this, and nothing else.
fn machine(apt_get: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let paths = std::env::var_os("PATH").unwrap();
    for program in PROGRAMS {
        let found =
            std::env::split_paths(&paths).map(|dir| dir.join(program)).find(|p| p.is_file());
        symlink(found.unwrap(), folder.path().join(program)).unwrap();
    }
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("apt-get", &format!("#!/bin/sh\n{apt_get}\n"));
    // Whoever is not root has it done.
    write("sudo", "#!/bin/sh\nshift\n[ \"$#\" = 0 ] || exec \"$@\"\n");
    write("true", "#!/bin/sh\n");
    folder
}

fn setup(machine: &Path) -> Child {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/setup");
    Command::new("bash")
        .arg(script)
        .env_clear()
        .env("PATH", machine)
        // It brings a database of its own, so only the compiler is missing.
        .env("HOGA_DATABASE_URL", "postgres://nowhere/db")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn an_installation_is_told_of_while_it_lasts_and_without_the_noise_of_apt_get() {
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("told");
    // For a minute at most: it fails then, and so does the script.
    let waits = format!(
        "echo 'Get:1 noise'; [ \"$1\" = update ] && exit; \
         for _ in {}; do [ -e '{}' ] && exit; sleep 0.1; done; exit 1",
        "x ".repeat(600),
        done.display()
    );
    let machine = machine(&waits);
    let mut running = setup(machine.path());
    let mut said = Vec::new();
    for line in BufReader::new(running.stdout.take().unwrap()).lines() {
        said.push(line.unwrap());
        // It goes on only once it has said that it is still at it.
        if said.iter().any(|line| line.contains("still")) {
            fs::write(&done, "").unwrap();
        }
    }
    assert!(running.wait().unwrap().success(), "{said:?}");
    assert!(said[0].contains("build-essential"), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("noise")), "{said:?}");
}

#[test]
fn an_installation_that_fails_shows_what_apt_get_said() {
    let machine = machine("echo 'E: the mirror is away'; [ \"$1\" = update ]");
    let output = setup(machine.path()).wait_with_output().unwrap();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{wrong}");
    assert!(wrong.contains("E: the mirror is away"), "{wrong}");
    assert!(wrong.contains("apt-get install failed"), "{wrong}");
}

#[test]
fn what_is_run_is_that_of_the_checkout_from_whatever_directory() {
    let machine = machine("exit 1");
    let cargo = machine.path().join("cargo");
    fs::write(&cargo, "#!/bin/sh\npwd\n").unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("bash")
        .arg(root.join("scripts/run"))
        .env_clear()
        .env("PATH", machine.path())
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // It is built, and then run.
    assert_eq!(said.lines().map(Path::new).collect::<Vec<_>>(), [&root, &root]);
}
