//! The program: options → a running proxy, a waiting one, or a simulation. Prints errors, sets exit codes; nothing else.

use std::process::ExitCode;

use ewma_proxy::config::{parse, Command};
use ewma_proxy::{run, simulate};

fn main() -> ExitCode {
    let command = match parse(std::env::args_os().skip(1), |name| std::env::var(name).ok()) {
        Ok(command) => command,
        Err(errors) => {
            for error in errors {
                eprintln!("ewma-proxy: {error}");
            }
            return ExitCode::from(2);
        }
    };
    let outcome = match command {
        Command::Print(text) => {
            println!("{text}");
            Ok(())
        }
        Command::Await(admin, seconds) => run::wait_until_ready(admin, seconds),
        Command::Simulate(tuning, json) => {
            println!("{}", simulate::report(*tuning, json, |policy| eprintln!("measuring {policy} …")));
            Ok(())
        }
        Command::Init(init) => ewma_proxy::init::init(&init),
        Command::Run(config) => run::run(*config),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ewma-proxy: {error}");
            ExitCode::from(3)
        }
    }
}
