//! A simulated cluster to play with: prints a kubeconfig, and serves until it is ended.

use std::net::SocketAddr;
use std::time::Duration;

use vitals_runtime::tasks::{Supervisor, stop_signal};
use vitals_simulator::{Clock, Options, Simulator};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(0), |it| it.parse())?;
    let supervisor = Supervisor::new();
    let tasks = supervisor.tasks();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let starting = Simulator::start_on(address, Options::default(), Clock::system(), &tasks);
    println!("{}", starting.await?.kubeconfig("simulated"));
    let stop = async {
        stop_signal().await.ok();
    };
    supervisor.run(stop, Duration::from_secs(5)).await?;
    Ok(())
}
