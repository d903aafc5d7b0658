//! Kernel objects are compared over runs in which they count every request.

use lab_tests::{build, kernel};
use measure::objects::{self, Object, Options};

const NAME: &str = "two_objects_run_once_for_each_packet_of_the_same_requests";

#[test]
fn two_objects_run_once_for_each_packet_of_the_same_requests() {
    if !kernel::available(NAME) {
        return;
    }
    let object = |name: &str| Object {
        name: name.to_owned(),
        source: "this".to_owned(),
        path: build::tree().kernel_object(),
    };
    let options = Options {
        programs: build::folder(),
        objects: vec![object("before"), object("after")],
        rounds: 2,
        keys: 20,
        requests: 500,
        clients: 2,
        seed: 1,
    };
    let report = objects::run(&options, |what| println!("{what}")).unwrap();
    let (name, page) = report.page();
    println!("{}\n{name}\n{page}", report.text());
    let [before, after] = &report.figures[..] else { panic!("{:?}", report.figures) };
    for figures in [before, after] {
        assert!(figures.nanoseconds().is_some_and(|found| found.median > 0.0), "{figures:?}");
        // A request and its answer. A slow server acknowledges some requests before it answers.
        let runs = figures.runs();
        assert!(runs.min >= 2.0 && runs.max < 3.0, "{runs:?}");
    }
    let ratio = after.ratio(before).unwrap();
    assert!(ratio.min > 0.0 && ratio.max.is_finite(), "{ratio:?}");
    assert!(page.contains("--object before=this --object after=this --rounds 2"), "{page}");
}
