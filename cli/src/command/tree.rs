//! `vitals tree`: the objects of an entity, or around an object, each with its health.

use vitals_proto::v1::get_entity_tree_request::Root;
use vitals_proto::v1::{GetEntityTreeRequest, GetEntityTreeResponse, TreeNode};

use super::Outcome;
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::output::Output;
use crate::reference::{self, Place, Target};
use crate::table::{Cell, Column, Table};
use crate::{Error, progress, text};

/// Of what.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An entity (`[KIND:][NAMESPACE/]NAME`), or an object (CLUSTER/KIND/NAMESPACE/NAME, deploy/NAME, pod NAME)
    #[arg(required = true, num_args = 1..=2, value_name = "REF|OBJECT")]
    target: Vec<String>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { target, place } = args;
    let target = reference::target(&target, &place)?;
    let hub = Hub::new(hub)?;
    let root = match target {
        Target::Entity(entity) => Root::Ref(entity.to_string()),
        Target::Object(object) => {
            let resolving = object.resolve(&hub);
            Root::Object(progress::during(output, "asking the hub", resolving).await?)
        }
    };
    let request = GetEntityTreeRequest { root: Some(root.clone()) };
    let mut client = hub.entities();
    let answer = progress::during(output, "asking the hub", client.get_entity_tree(request)).await;
    let answer = answer.map_err(|status| match &root {
        Root::Ref(entity) => super::explain::entity_error(&hub, status, entity),
        Root::Object(object) => super::why::not_found(&hub, status, object),
    })?;
    let tree = answer.into_inner();
    match output.format {
        Format::Table => show(&tree, output)?,
        Format::Json | Format::Yaml => output.document(&tree)?,
    }
    Ok(Outcome::Fine)
}

fn show(tree: &GetEntityTreeResponse, output: &mut Output) -> Result<(), Error> {
    if let Some(entity) = &tree.entity {
        let (word, style) = super::get::status(entity);
        let word = output.paint.text(word, style);
        output.line(&format!("{} is {word}", text::clean(&entity.r#ref)))?;
    }
    if tree.roots.is_empty() {
        output.note("no objects");
        return Ok(());
    }
    let mut table = Table::new(&[
        Column::name("OBJECT"),
        Column::whole("CLUSTER"),
        Column::whole("STATUS"),
        Column::flexible("SUMMARY"),
        Column::number("AGE"),
        Column::flexible("MESSAGE"),
    ]);
    for root in &tree.roots {
        rows(root, &Indent::default(), output.now(), &mut table);
    }
    output.table(&table)
}

/// What stands before the name of a node, and before those of its children.
#[derive(Default)]
struct Indent {
    own: String,
    children: String,
}

fn rows(node: &TreeNode, indent: &Indent, now_unix_ms: i64, table: &mut Table) {
    let object = node.object.clone().unwrap_or_default();
    // What is named is drawn in full elsewhere, or has nothing below it.
    let edge = if matches!(node.edge.as_str(), "" | "owns") { "" } else { "→ " };
    let health = node.health.clone().unwrap_or_default();
    // A line for each would say no more, and make the tree twice as long.
    let (nodes, children): (Vec<_>, Vec<_>) =
        node.children.iter().partition(|child| child.edge == "runs on");
    let on = nodes.first().and_then(|it| it.object.as_ref()).map(|it| format!("on {}", it.name));
    let summary = [Some(node.summary.clone()), on];
    let summary: Vec<String> = summary.into_iter().flatten().filter(|it| !it.is_empty()).collect();
    table.row([
        Cell::from(format!("{}{edge}{}", indent.own, text::object(&object))),
        Cell::from(&object.cluster),
        Cell::styled(text::status(health.status())),
        Cell::from(summary.join(", ")),
        Cell::from(text::age(node.created_at.as_ref(), now_unix_ms)),
        Cell::from(&health.message),
    ]);
    let mut children = children.into_iter().peekable();
    while let Some(child) = children.next() {
        let (own, rest) =
            if children.peek().is_some() { ("├─ ", "│  ") } else { ("└─ ", "   ") };
        let indent = Indent {
            own: format!("{}{own}", indent.children),
            children: format!("{}{rest}", indent.children),
        };
        rows(child, &indent, now_unix_ms, table);
    }
}
