//! Tests which requests are timed.

use crate::connection::Connection;

const GET: &[u8] = b"GET /data/a HTTP/1.1\r\n\r\n";
const STATS: &[u8] = b"GET /stats HTTP/1.1\r\n\r\n";

#[test]
fn one_request_at_a_time_is_timed_each_time() {
    let mut connection = Connection::from_start(1);
    for times in 1..=5 {
        connection.append(&GET[..9]);
        connection.append(&GET[9..]);
        connection.answer();
        assert_eq!(connection.timed, times);
    }
    connection.append(STATS);
    connection.answer();
    assert_eq!(connection.timed, 5);
    connection.append(GET);
    assert_eq!(connection.timed, 6);
}

#[test]
fn of_a_pipeline_the_oldest_is_timed_and_nothing_behind_it() {
    for pipeline in [&[&GET.repeat(3)[..]][..], &[GET, GET]] {
        let mut connection = Connection::from_start(1);
        pipeline.iter().for_each(|segment| connection.append(segment));
        assert_eq!(connection.timed, 1);
        connection.answer();
        connection.append(GET);
        assert_eq!(connection.timed, 1);
    }
    let mut connection = Connection::from_start(1);
    connection.append(&[STATS, GET].concat());
    assert_eq!(connection.timed, 0);
}

#[test]
fn behind_a_beginning_in_the_middle_the_second_request_is_timed() {
    let mut connection = Connection::joined(1);
    connection.append(GET);
    connection.answer();
    assert_eq!(connection.timed, 0);
    connection.append(GET);
    assert_eq!(connection.timed, 1);
}
