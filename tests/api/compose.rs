//! The security settings of `docker-compose.yml`. Docker itself is not needed.

use serde_json::Value;

fn services() -> Vec<(String, Value)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docker-compose.yml");
    let file: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file["services"].as_object().unwrap().clone().into_iter().collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn every_published_port_is_open_to_this_machine_only() {
    let services = services();
    let ports: Vec<&str> = services.iter().flat_map(|(_, service)| texts(&service["ports"])).collect();
    assert_eq!(ports, ["127.0.0.1:8000:8000", "127.0.0.1:8025:8025"]);
}

#[test]
fn every_service_has_few_capabilities_and_limits_on_memory_and_processes() {
    let needed_to_change_the_user = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"];
    let services = services();
    assert_eq!(services.len(), 5);
    for (name, service) in services {
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert!(service["mem_limit"].is_string() && service["pids_limit"].is_u64(), "{name}: {service}");
        let added = texts(&service["cap_add"]);
        assert!(added.iter().all(|capability| needed_to_change_the_user.contains(capability)), "{name}: {added:?}");
        assert!(added.is_empty() || ["postgres", "redis", "tests"].contains(&&*name), "{name}: {added:?}");
        assert!(service["privileged"].is_null() && service["network_mode"].is_null(), "{name}");
    }
}

#[test]
fn redis_requires_the_password_that_the_service_uses() {
    let services: std::collections::HashMap<_, _> = services().into_iter().collect();
    let redis = &services["redis"];
    let command = texts(&redis["command"]);
    let at = command.iter().position(|argument| *argument == "--requirepass").expect("Redis has a password");
    let password = command[at + 1];
    assert_eq!(redis["environment"]["REDISCLI_AUTH"], password);
    let url = services["api"]["environment"]["REDIS_URL"].as_str().unwrap();
    assert_eq!(url, format!("redis://default:{password}@redis:6379/0"));
}
