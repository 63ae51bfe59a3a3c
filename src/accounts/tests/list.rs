use std::time::Duration;

use crate::accounts::ports::UserFilter;
use crate::testing::fakes::InMemoryService;

#[tokio::test]
async fn pages_contain_every_user_once_while_others_register() {
    let service = InMemoryService::new();
    let mut registered = vec![];
    for n in 0..5 {
        registered.push(service.register(&format!("{n}@example.com"), "correct horse").await.unwrap());
        // Two users per second, so that the id decides the order too.
        service.clock.advance(Duration::from_secs(n % 2));
    }
    let (mut seen, mut after) = (vec![], None);
    loop {
        let page = service.accounts.list(&UserFilter::default(), after, 2).await.unwrap();
        service.register(&format!("{}@later.example", seen.len()), "correct horse").await.unwrap();
        seen.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    registered.sort_by_key(|user| std::cmp::Reverse((user.created_at, user.id)));
    assert_eq!(seen, registered);
}
