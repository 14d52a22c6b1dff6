use super::*;
use alloc::vec;
use core::net::IpAddr;

const PORT: u16 = 6881;
const LEASE: Duration = Duration::from_secs(100);
const START: Time = Time::from_secs(1000);

fn route() -> Route {
    route_of("192.168.1.2", "192.168.1.1")
}

fn route_of(local: &str, gateway: &str) -> Route {
    let [local, gateway] = [local, gateway].map(|address| address.parse::<IpAddr>().unwrap());
    Route { local, gateway: Some(gateway.into()) }
}

/// A mapper with its moment.
struct Bench {
    mapper: Mapper,
    now: Time,
}

impl Bench {
    fn new() -> Self {
        let config = Config { port: PORT, methods: Method::ALL.to_vec(), lease: LEASE, seed: 1 };
        Self { mapper: Mapper::new(config), now: START }
    }

    /// One that knows the way out.
    fn routed() -> Self {
        let mut bench = Self::new();
        bench.mapper.handle_route(START, Some(route()));
        bench
    }

    /// One whose gateway has granted the wished port for both transports by the first method.
    fn mapped() -> Self {
        let mut bench = Self::routed();
        bench.grant(PORT);
        bench.grant(PORT);
        bench.outputs();
        bench
    }

    fn outputs(&mut self) -> Vec<Output> {
        core::iter::from_fn(|| self.mapper.poll_output()).collect()
    }

    /// The next ask, which must be there; what is told before it is dropped.
    fn ask(&mut self) -> Ask {
        let asks = self.outputs().into_iter().filter_map(|output| match output {
            Output::Ask(ask) => Some(ask),
            Output::Release(_) | Output::Mapped(_) | Output::Lost(_) | Output::Unmapped(_) => None,
        });
        let asks: Vec<Ask> = asks.collect();
        assert_eq!(asks.len(), 1, "{asks:?}");
        asks[0].clone()
    }

    fn answer(&mut self, answer: Result<Grant, Trouble>) -> Ask {
        let ask = self.ask();
        self.mapper.handle_answer(self.now, ask.id, answer);
        ask
    }

    fn grant(&mut self, port: u16) -> Ask {
        self.answer(Ok(grant(port)))
    }

    fn fail(&mut self) -> Ask {
        self.answer(Err(Trouble::Failed("no answer".to_string())))
    }

    /// Goes on to the next moment at which something is due.
    fn go_on(&mut self) -> Duration {
        let due = self.mapper.timeout().expect("something is due");
        let waited = due.since(self.now);
        self.now = due;
        self.mapper.handle_timeout(due);
        waited
    }

    fn ports(&self) -> Vec<(Transport, u16)> {
        self.mapper.mappings().map(|mapping| (mapping.transport, mapping.external_port)).collect()
    }
}

fn grant(port: u16) -> Grant {
    let external_ip = Some(IpAddr::from([203, 0, 113, 7]));
    Grant { external_port: port, external_ip, lease: Some(LEASE), epoch: None }
}

#[test]
fn both_transports_get_the_port_that_is_listened_on() {
    let mut bench = Bench::routed();
    let tcp = bench.grant(PORT);
    let udp = bench.grant(PORT);
    assert_eq!((tcp.method, tcp.transport, tcp.external_port), (Method::Pcp, Transport::Tcp, PORT));
    assert_eq!((udp.method, udp.transport, udp.external_port), (Method::Pcp, Transport::Udp, PORT));
    assert_eq!((tcp.route, tcp.port, tcp.lease), (route(), PORT, Some(LEASE)));
    assert!(matches!(&bench.outputs()[..], [Output::Mapped(mapping)] if mapping.transport == Transport::Udp));
    assert_eq!(bench.ports(), [(Transport::Tcp, PORT), (Transport::Udp, PORT)]);
}

#[test]
fn udp_is_asked_for_the_port_that_tcp_has_got() {
    let mut bench = Bench::routed();
    bench.grant(7000);
    assert_eq!(bench.grant(7000).external_port, 7000);
    assert_eq!(bench.ports(), [(Transport::Tcp, 7000), (Transport::Udp, 7000)]);
}

#[test]
fn methods_are_tried_in_turn_and_their_reasons_told() {
    let mut bench = Bench::routed();
    let methods: Vec<Method> = (0..3).map(|_| bench.fail().method).collect();
    assert_eq!(methods, Method::ALL);
    let reasons = Method::ALL.map(|method| (method, "no answer".to_string())).to_vec();
    assert_eq!(bench.outputs(), [Output::Unmapped(reasons)]);
    assert_eq!(bench.go_on(), REST, "they rest and are tried anew");
    (0..3).for_each(|_| _ = bench.fail());
    assert_eq!(bench.go_on(), REST * 2);
    (0..3).for_each(|_| _ = bench.fail());
    for _ in 0..20 {
        assert!(bench.go_on() <= LONGEST_REST);
        (0..3).for_each(|_| _ = bench.fail());
    }
}

#[test]
fn without_a_known_gateway_only_the_method_that_finds_one_is_tried() {
    let mut bench = Bench::new();
    bench.mapper.handle_route(START, Some(Route { gateway: None, ..route() }));
    assert_eq!(bench.fail().method, Method::Upnp);
    assert!(matches!(&bench.outputs()[..], [Output::Unmapped(reasons)] if reasons.len() == 1));
}

#[test]
fn a_machine_with_a_public_address_asks_for_nothing() {
    let mut bench = Bench::new();
    for address in ["203.0.113.7", "127.0.0.1", "169.254.1.1"] {
        bench.mapper.handle_route(START, Some(route_of(address, "192.168.1.1")));
        assert_eq!(bench.outputs(), []);
    }
    bench.mapper.handle_route(START, None);
    assert_eq!((bench.outputs(), bench.mapper.timeout()), (vec![], None));
}

#[test]
fn for_ipv6_a_router_is_asked_by_pcp_alone() {
    let mut bench = Bench::new();
    let world = route_of("2001:db8::2", "fe80::1");
    bench.mapper.handle_route(START, Some(world));
    let tcp = bench.grant(PORT);
    assert_eq!((tcp.method, tcp.route, tcp.external_port), (Method::Pcp, world, PORT));
    bench.fail();
    assert_eq!(bench.ports(), [(Transport::Tcp, PORT)]);
    let mut refused = Bench::new();
    refused.mapper.handle_route(START, Some(world));
    refused.fail();
    assert!(matches!(&refused.outputs()[..], [Output::Unmapped(reasons)] if reasons.len() == 1));
}

#[test]
fn what_an_ipv6_address_had_is_given_back_when_another_takes_its_place() {
    let mut bench = Bench::new();
    bench.mapper.handle_route(START, Some(route_of("2001:db8::2", "fe80::1")));
    bench.grant(PORT);
    bench.grant(PORT);
    bench.outputs();
    bench.mapper.handle_route(bench.now, Some(route_of("2001:db8::3", "fe80::1")));
    let outputs = bench.outputs();
    let released = outputs.iter().filter(|output| matches!(output, Output::Release(_))).count();
    let asked = outputs.iter().filter(|output| matches!(output, Output::Ask(_))).count();
    assert_eq!((released, asked), (2, 1), "{outputs:?}");
}

#[test]
fn an_ipv6_address_that_the_world_cannot_reach_is_not_asked_for() {
    for (local, gateway) in
        [("fd00::2", Some("fe80::1")), ("fe80::2", Some("fe80::1")), ("2001:db8::2", None)]
    {
        let mut bench = Bench::new();
        let gateway = gateway.map(|gateway| gateway.parse::<IpAddr>().unwrap().into());
        bench.mapper.handle_route(START, Some(Route { local: local.parse().unwrap(), gateway }));
        let asked = bench.outputs().iter().filter(|output| matches!(output, Output::Ask(_))).count();
        assert_eq!(asked, 0, "{local}");
    }
}

#[test]
fn a_lease_is_renewed_at_half_its_time_with_the_same_port() {
    let mut bench = Bench::mapped();
    for _ in 0..10 {
        assert!(bench.go_on() <= LEASE / 2);
        for ask in bench.outputs() {
            let Output::Ask(ask) = ask else { panic!("{ask:?}") };
            assert_eq!((ask.method, ask.external_port), (Method::Pcp, PORT));
            bench.mapper.handle_answer(bench.now, ask.id, Ok(grant(PORT)));
        }
        assert_eq!(bench.outputs(), [], "nothing has changed");
    }
    assert_eq!(bench.now.since(START), LEASE / 2 * 10);
}

#[test]
fn a_failed_renewal_is_tried_again_until_the_lease_is_over() {
    let mut bench = Bench::mapped();
    let mut asked = 0;
    while bench.ports().len() == 2 {
        bench.go_on();
        for output in bench.outputs() {
            let Output::Ask(ask) = output else { panic!("{output:?}") };
            asked += 1;
            bench.mapper.handle_answer(bench.now, ask.id, Err(Trouble::Failed(String::new())));
        }
    }
    assert!(bench.now.since(START) >= LEASE, "it is held as long as the lease");
    assert!((4..=20).contains(&asked), "asked {asked} times");
    assert!(bench.outputs().iter().any(|output| matches!(output, Output::Lost(_))));
}

#[test]
fn when_all_leases_are_over_the_methods_are_tried_from_the_first() {
    let mut bench = Bench::routed();
    bench.fail();
    bench.grant(PORT);
    bench.grant(PORT);
    assert!(bench.mapper.mappings().all(|mapping| mapping.method == Method::NatPmp));
    bench.outputs();
    while !bench.ports().is_empty() {
        bench.go_on();
        for output in bench.outputs() {
            if let Output::Ask(ask) = output {
                bench.mapper.handle_answer(bench.now, ask.id, Err(Trouble::Failed(String::new())));
            }
        }
    }
    let first = bench.ask();
    assert_eq!((first.method, first.transport, first.external_port), (Method::Pcp, Transport::Tcp, PORT));
}

#[test]
fn a_taken_port_leads_to_others_and_then_to_the_next_method() {
    let mut bench = Bench::routed();
    let mut wished = Vec::new();
    for _ in 0..=PORTS {
        let ask = bench.answer(Err(Trouble::Conflict));
        assert_eq!(ask.method, Method::Pcp);
        wished.push(ask.external_port);
    }
    assert_eq!(wished[0], PORT);
    assert!(wished[1..].iter().all(|port| OTHERS.contains(port)), "{wished:?}");
    assert_eq!(bench.grant(PORT).method, Method::NatPmp);
}

#[test]
fn a_port_that_was_taken_away_is_replaced() {
    let mut bench = Bench::mapped();
    bench.go_on();
    let outputs = bench.outputs();
    let Some(Output::Ask(ask)) = outputs.first() else { panic!("{outputs:?}") };
    bench.mapper.handle_answer(bench.now, ask.id, Err(Trouble::Conflict));
    let outputs = bench.outputs();
    let [Output::Lost(lost), Output::Ask(again)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(lost.external_port, PORT);
    assert_ne!(again.external_port, PORT);
}

#[test]
fn a_gateway_that_forwards_only_for_good_is_asked_for_that() {
    let mut bench = Bench::routed();
    assert!(bench.answer(Err(Trouble::OnlyForGood)).lease.is_some());
    let for_good = || Ok(Grant { lease: None, ..grant(PORT) });
    assert_eq!(bench.answer(for_good()).lease, None);
    bench.answer(Err(Trouble::OnlyForGood));
    bench.answer(for_good());
    assert_eq!(bench.ports().len(), 2);
    bench.outputs();
    assert_eq!(bench.go_on(), FOR_GOOD / 2, "the gateway may have forgotten it");
}

#[test]
fn transports_with_different_ports_move_to_a_third_one() {
    let mut bench = Bench::routed();
    bench.grant(PORT);
    bench.grant(7000);
    let outputs = bench.outputs();
    let [Output::Release(udp), Output::Release(tcp), Output::Ask(ask)] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!((udp.external_port, tcp.external_port), (7000, PORT));
    let port = ask.external_port;
    assert!(OTHERS.contains(&port));
    bench.mapper.handle_answer(bench.now, ask.id, Ok(grant(port)));
    bench.grant(port);
    assert_eq!(bench.ports(), [(Transport::Tcp, port), (Transport::Udp, port)]);
}

#[test]
fn transports_that_cannot_have_one_port_keep_two() {
    let mut bench = Bench::routed();
    for round in 0..=ROUNDS {
        bench.grant(5000);
        let udp = bench.ask();
        bench.mapper.handle_answer(bench.now, udp.id, Ok(grant(6000)));
        assert_eq!(bench.ports().len(), if round == ROUNDS { 2 } else { 0 });
    }
}

#[test]
fn tcp_alone_is_better_than_nothing() {
    let mut bench = Bench::routed();
    bench.grant(PORT);
    bench.fail();
    assert_eq!(bench.ports(), [(Transport::Tcp, PORT)]);
    bench.go_on();
    let asks = bench.outputs();
    assert_eq!(asks.len(), 2, "with the next renewal UDP is asked for again: {asks:?}");
}

#[test]
fn a_gateway_that_restarted_is_asked_for_everything_again() {
    let mut bench = Bench::routed();
    let at = |epoch| Ok(Grant { epoch: Some(epoch), ..grant(PORT) });
    bench.answer(at(50_000));
    bench.now += Duration::from_secs(10);
    bench.answer(at(50_010));
    bench.outputs();
    bench.go_on();
    assert_eq!(bench.answer(at(3)).transport, Transport::Tcp);
    assert_eq!(bench.go_on(), Duration::ZERO, "at once");
    assert_eq!(bench.answer(at(3)).transport, Transport::Udp);
    assert!(bench.go_on() > Duration::ZERO, "what was forgotten is there again");
}

#[test]
fn a_slow_clock_is_no_restart() {
    let mut bench = Bench::routed();
    let at = |epoch| Ok(Grant { epoch: Some(epoch), ..grant(PORT) });
    bench.answer(at(1000));
    bench.now += Duration::from_secs(40);
    bench.answer(at(1036));
    bench.outputs();
    assert!(bench.go_on() > Duration::ZERO);
}

#[test]
fn another_network_is_begun_with_anew() {
    let mut bench = Bench::mapped();
    let other = route_of("10.0.0.5", "10.0.0.1");
    bench.mapper.handle_route(bench.now, Some(other));
    let outputs = bench.outputs();
    let [Output::Lost(_), Output::Lost(_), Output::Ask(ask)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(ask.route, other);
    bench.mapper.handle_route(bench.now, Some(other));
    assert_eq!(bench.outputs(), [], "the same network is no news");
}

#[test]
fn answers_of_an_earlier_network_are_ignored() {
    let mut bench = Bench::routed();
    let old = bench.ask();
    let other = route_of("10.0.0.5", "192.168.1.1");
    bench.mapper.handle_route(bench.now, Some(other));
    bench.outputs();
    bench.mapper.handle_answer(bench.now, old.id, Ok(grant(PORT)));
    assert_eq!((bench.ports(), bench.outputs()), (vec![], vec![]));
}

#[test]
fn doubt_asks_at_once() {
    let mut bench = Bench::mapped();
    bench.mapper.handle_doubt(bench.now);
    assert_eq!(bench.go_on(), Duration::ZERO);
    assert_eq!(bench.outputs().len(), 2);
    let mut resting = Bench::routed();
    (0..3).for_each(|_| _ = resting.fail());
    resting.outputs();
    resting.mapper.handle_doubt(resting.now);
    assert_eq!(resting.ask().method, Method::Pcp);
}

#[test]
fn in_the_end_everything_is_given_back() {
    let mut bench = Bench::mapped();
    bench.mapper.stop();
    let released = bench.outputs();
    assert!(matches!(&released[..], [Output::Release(_), Output::Release(_)]), "{released:?}");
    assert_eq!(bench.mapper.timeout(), None);
    bench.mapper.handle_route(bench.now, None);
    bench.mapper.handle_timeout(bench.now + LEASE);
    assert_eq!(bench.outputs(), []);
}

#[test]
fn what_may_be_granted_in_the_last_moment_is_given_back_too() {
    let mut bench = Bench::routed();
    bench.outputs();
    bench.mapper.stop();
    assert!(matches!(&bench.outputs()[..], [Output::Release(_)]));
    let mut upnp = Bench::routed();
    upnp.fail();
    upnp.fail();
    upnp.outputs();
    upnp.mapper.stop();
    assert_eq!(upnp.outputs(), [], "the port may be another host's");
}

#[test]
fn leases_of_a_hostile_gateway_are_not_followed_blindly() {
    for lease in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
        let mut bench = Bench::routed();
        let grant = || Ok(Grant { lease: Some(lease), ..grant(PORT) });
        bench.answer(grant());
        bench.answer(grant());
        bench.outputs();
        let waited = bench.go_on();
        assert!(waited >= BREATH && waited <= LONGEST / 2, "{waited:?}");
    }
    let mut bench = Bench::routed();
    assert_eq!(bench.grant(0).method, Method::Pcp, "port 0 is no port");
    assert_eq!(bench.ask().method, Method::NatPmp);
}
