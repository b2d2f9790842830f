//! The demo catalogue: who is there and what is on sale when Hoga starts without configuration.
//!
//! Owns invented texts as plain data. It must never depend on the rest of Hoga, hold the name of a
//! real person, or be shown by an exchange that was configured.

/// How far a bid must go over the price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoIncrement {
    /// A table by its name, such as `won`.
    Table(&'static str),
    /// The same step at every price.
    Fixed {
        /// In won.
        step: i64,
    },
    /// A part of the opening price.
    PercentOfOpening {
        /// Hundredths of a percent.
        basis_points: u32,
    },
}

/// One auction of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoItem {
    /// In Korean or English.
    pub title: &'static str,
    /// One or two sentences.
    pub description: &'static str,
    /// The slug of a category.
    pub category: &'static str,
    /// In won.
    pub opening_price: i64,
    /// How far a bid must go over the price.
    pub increment: DemoIncrement,
    /// In won; over the opening price.
    pub reserve_price: Option<i64>,
    /// In won; over the opening price, and not below the reserve.
    pub buy_now_price: Option<i64>,
    /// Names and values, for facets.
    pub attributes: &'static [(&'static str, &'static str)],
    /// Seconds from the first start of the demo until it opens.
    pub starts_in_s: i64,
    /// Seconds from its opening until it closes, unless a soft close extends it.
    pub lasts_s: i64,
    /// Whether a late bid extends it.
    pub soft_close: bool,
}

/// Somebody to be in the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoUser {
    /// The name to log in with.
    pub name: &'static str,
    /// The name that others see.
    pub nickname: &'static str,
    /// What they may do.
    pub roles: &'static [&'static str],
    /// Who they are at the stand-in for Kakao; beyond any id that Kakao has given out.
    pub kakao_id: i64,
}

/// The people of the demo: one sells, two bid.
pub const DEMO_USERS: &[DemoUser] = &[
    DemoUser {
        name: "sora",
        nickname: "소라네 다락방",
        roles: &["seller"],
        kakao_id: 9_000_000_000_000_001,
    },
    DemoUser {
        name: "minji",
        nickname: "민지",
        roles: &["bidder"],
        kakao_id: 9_000_000_000_000_002,
    },
    DemoUser {
        name: "junho",
        nickname: "준호",
        roles: &["bidder"],
        kakao_id: 9_000_000_000_000_003,
    },
];

/// The seller of every item of the demo.
pub const DEMO_SELLER: &str = "sora";

/// The auctions of the demo, by the time they open. Ten open at once; for some twenty minutes one
/// opens or closes at least once a minute; two stay open for hours.
pub const DEMO_ITEMS: &[DemoItem] = &[
    DemoItem {
        title: "달을 닮은 백자 항아리",
        description: "가마에서 두 번 구워 은은한 유백색을 얻은 둥근 항아리입니다. 어깨의 이음매가 손맛을 그대로 보여 줍니다.",
        category: "ceramics",
        opening_price: 180_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: Some(300_000),
        buy_now_price: None,
        attributes: &[("높이", "31 cm"), ("상태", "완전품")],
        starts_in_s: 0,
        lasts_s: 90,
        soft_close: true,
    },
    DemoItem {
        title: "Brass field camera, restored",
        description: "A folding plate camera with new bellows and a clean lens. It comes with three holders and a leather case.",
        category: "cameras",
        opening_price: 220_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: None,
        buy_now_price: Some(650_000),
        attributes: &[("format", "4x5"), ("condition", "restored")],
        starts_in_s: 0,
        lasts_s: 150,
        soft_close: true,
    },
    DemoItem {
        title: "눈 내린 골목, 목판화",
        description: "손으로 깎은 판 다섯 장을 겹쳐 찍은 겨울 골목 풍경입니다. 열두 장 한정 가운데 네 번째 장입니다.",
        category: "art",
        opening_price: 90_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: Some(120_000),
        buy_now_price: None,
        attributes: &[("기법", "다색 목판"), ("에디션", "4/12")],
        starts_in_s: 0,
        lasts_s: 210,
        soft_close: true,
    },
    DemoItem {
        title: "Walnut writing desk with a secret drawer",
        description: "The drawer opens when both side panels are pressed at once. Oiled, not varnished, and steady on its feet.",
        category: "furniture",
        opening_price: 350_000,
        increment: DemoIncrement::Fixed { step: 10_000 },
        reserve_price: Some(480_000),
        buy_now_price: Some(900_000),
        attributes: &[("wood", "walnut"), ("width", "118 cm")],
        starts_in_s: 0,
        lasts_s: 270,
        soft_close: false,
    },
    DemoItem {
        title: "손목 위의 항해사, 수동 시계",
        description: "매일 아침 태엽을 감는 얇은 수동 시계입니다. 작년에 분해 소제를 마쳤고 하루 오차는 6초입니다.",
        category: "watches",
        opening_price: 400_000,
        increment: DemoIncrement::PercentOfOpening { basis_points: 250 },
        reserve_price: Some(550_000),
        buy_now_price: Some(1_200_000),
        attributes: &[("지름", "36 mm"), ("구동", "수동")],
        starts_in_s: 0,
        lasts_s: 330,
        soft_close: true,
    },
    DemoItem {
        title: "Forgotten harbours, first printing",
        description: "Forty maps of harbours that silted up, folded into a cloth-bound book. One page has a pencil note.",
        category: "books",
        opening_price: 45_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: None,
        buy_now_price: None,
        attributes: &[("language", "English"), ("pages", "212")],
        starts_in_s: 0,
        lasts_s: 390,
        soft_close: true,
    },
    DemoItem {
        title: "자작나무 통기타",
        description: "앞판은 가문비나무, 옆판은 자작나무로 만든 공방 기타입니다. 줄을 새로 갈았고 하드 케이스가 딸려 옵니다.",
        category: "instruments",
        opening_price: 260_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: Some(350_000),
        buy_now_price: None,
        attributes: &[("줄 길이", "640 mm"), ("케이스", "포함")],
        starts_in_s: 0,
        lasts_s: 450,
        soft_close: true,
    },
    DemoItem {
        title: "Indigo work jacket, hand dyed",
        description: "Dyed eleven times and never worn outside. The buttons are cut from horn.",
        category: "fashion",
        opening_price: 70_000,
        increment: DemoIncrement::Fixed { step: 5_000 },
        reserve_price: None,
        buy_now_price: Some(180_000),
        attributes: &[("size", "M"), ("fabric", "cotton")],
        starts_in_s: 0,
        lasts_s: 510,
        soft_close: false,
    },
    DemoItem {
        title: "구름 조각 나무 퍼즐",
        description: "같은 모양이 하나도 없는 구름 조각 이백 개짜리 퍼즐입니다. 그림 없이 결만 보고 맞춥니다.",
        category: "games",
        opening_price: 20_000,
        increment: DemoIncrement::Fixed { step: 1_000 },
        reserve_price: None,
        buy_now_price: Some(60_000),
        attributes: &[("조각", "200"), ("재질", "단풍나무")],
        starts_in_s: 0,
        lasts_s: 21_600,
        soft_close: true,
    },
    DemoItem {
        title: "Copper kettle with a patient spout",
        description: "Pours slowly and never drips. Tinned inside last spring, with the maker's mark of a small heron.",
        category: "home",
        opening_price: 38_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: None,
        buy_now_price: None,
        attributes: &[("volume", "1.2 l"), ("material", "copper")],
        starts_in_s: 0,
        lasts_s: 86_400,
        soft_close: true,
    },
    DemoItem {
        title: "청자 찻잔 다섯 벌",
        description: "비 갠 하늘빛 유약을 입힌 찻잔 다섯 벌입니다. 잔마다 빙렬의 무늬가 다릅니다.",
        category: "ceramics",
        opening_price: 60_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: None,
        buy_now_price: Some(150_000),
        attributes: &[("구성", "잔 5, 받침 5"), ("상태", "사용감 없음")],
        starts_in_s: 30,
        lasts_s: 540,
        soft_close: true,
    },
    DemoItem {
        title: "Twin-lens camera with a waist-level finder",
        description: "Both lenses are clear and the shutter is true down to one second. A test film is included.",
        category: "cameras",
        opening_price: 150_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: Some(210_000),
        buy_now_price: None,
        attributes: &[("format", "6x6"), ("shutter", "tested")],
        starts_in_s: 60,
        lasts_s: 570,
        soft_close: true,
    },
    DemoItem {
        title: "파도 소리를 그린 유화",
        description: "해 질 무렵 방파제를 두꺼운 물감으로 쌓아 올린 작품입니다. 액자는 바다에서 건진 나무로 짰습니다.",
        category: "art",
        opening_price: 320_000,
        increment: DemoIncrement::PercentOfOpening { basis_points: 500 },
        reserve_price: Some(500_000),
        buy_now_price: Some(1_500_000),
        attributes: &[("크기", "72.7 x 60.6 cm"), ("재료", "캔버스에 유채")],
        starts_in_s: 100,
        lasts_s: 590,
        soft_close: true,
    },
    DemoItem {
        title: "Reading chair for long evenings",
        description: "A low chair with wide arms, one of them just large enough for a cup. New webbing under the seat.",
        category: "furniture",
        opening_price: 130_000,
        increment: DemoIncrement::Fixed { step: 5_000 },
        reserve_price: None,
        buy_now_price: None,
        attributes: &[("wood", "ash"), ("seat", "wool")],
        starts_in_s: 140,
        lasts_s: 610,
        soft_close: true,
    },
    DemoItem {
        title: "별자리 다이얼 쿼츠 시계",
        description: "다이얼에 겨울 별자리를 새긴 작은 쿼츠 시계입니다. 어두운 곳에서 별만 빛납니다.",
        category: "watches",
        opening_price: 55_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: None,
        buy_now_price: Some(160_000),
        attributes: &[("지름", "32 mm"), ("방수", "50 m")],
        starts_in_s: 180,
        lasts_s: 630,
        soft_close: true,
    },
    DemoItem {
        title: "A cookbook for one pot",
        description: "Ninety recipes tested on a single burner. The margins are wide, and meant to be written in.",
        category: "books",
        opening_price: 12_000,
        increment: DemoIncrement::Fixed { step: 1_000 },
        reserve_price: None,
        buy_now_price: Some(35_000),
        attributes: &[("language", "English"), ("binding", "spiral")],
        starts_in_s: 220,
        lasts_s: 650,
        soft_close: false,
    },
    DemoItem {
        title: "열두 줄 작은 가야금",
        description: "무릎에 올려 연습하기 좋은 작은 가야금입니다. 안족 열두 개와 조율 렌치를 함께 드립니다.",
        category: "instruments",
        opening_price: 190_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: Some(280_000),
        buy_now_price: Some(520_000),
        attributes: &[("길이", "92 cm"), ("줄", "12")],
        starts_in_s: 260,
        lasts_s: 670,
        soft_close: true,
    },
    DemoItem {
        title: "Felt hat with a blue lining",
        description: "Blocked by hand over one afternoon. The lining is the colour of the first hour after sunset.",
        category: "fashion",
        opening_price: 40_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: None,
        buy_now_price: None,
        attributes: &[("size", "57 cm"), ("material", "wool felt")],
        starts_in_s: 300,
        lasts_s: 690,
        soft_close: true,
    },
    DemoItem {
        title: "호랑이와 까치 보드게임",
        description: "둘이서 마주 앉아 산길을 차지하는 말판 놀이입니다. 말은 호두나무와 은행나무로 깎았습니다.",
        category: "games",
        opening_price: 33_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: None,
        buy_now_price: Some(90_000),
        attributes: &[("인원", "2명"), ("시간", "30분")],
        starts_in_s: 340,
        lasts_s: 700,
        soft_close: true,
    },
    DemoItem {
        title: "Paper lantern, two metres tall",
        description: "Mulberry paper over a bamboo frame that folds flat. It casts no hard shadow.",
        category: "home",
        opening_price: 85_000,
        increment: DemoIncrement::Fixed { step: 5_000 },
        reserve_price: Some(110_000),
        buy_now_price: None,
        attributes: &[("height", "200 cm"), ("bulb", "E26")],
        starts_in_s: 380,
        lasts_s: 720,
        soft_close: true,
    },
    DemoItem {
        title: "분청 물고기 접시",
        description: "물고기 한 마리가 접시를 가로지르는 넓은 분청 접시입니다. 꼬리 쪽에 작은 수리 흔적이 있습니다.",
        category: "ceramics",
        opening_price: 110_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: None,
        buy_now_price: None,
        attributes: &[("지름", "34 cm"), ("수리", "금 수리 한 곳")],
        starts_in_s: 420,
        lasts_s: 735,
        soft_close: true,
    },
    DemoItem {
        title: "Pocket rangefinder, brassed edges",
        description: "The black paint has worn to brass where thumbs have been. Everything works, and the meter agrees with the sky.",
        category: "cameras",
        opening_price: 280_000,
        increment: DemoIncrement::PercentOfOpening { basis_points: 300 },
        reserve_price: Some(380_000),
        buy_now_price: Some(800_000),
        attributes: &[("format", "35 mm"), ("meter", "working")],
        starts_in_s: 460,
        lasts_s: 750,
        soft_close: true,
    },
    DemoItem {
        title: "고요한 산, 수묵 두 폭",
        description: "먹의 농담만으로 새벽과 저녁을 나눈 한 쌍입니다. 두 폭을 나란히 걸면 능선이 이어집니다.",
        category: "art",
        opening_price: 240_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: Some(360_000),
        buy_now_price: None,
        attributes: &[("구성", "2폭"), ("재료", "한지에 수묵")],
        starts_in_s: 500,
        lasts_s: 770,
        soft_close: true,
    },
    DemoItem {
        title: "Stackable stools, set of four",
        description: "Four birch stools that make a tower or a small table. One has a paint drop that we left on purpose.",
        category: "furniture",
        opening_price: 48_000,
        increment: DemoIncrement::Fixed { step: 2_000 },
        reserve_price: None,
        buy_now_price: Some(140_000),
        attributes: &[("wood", "birch"), ("count", "4")],
        starts_in_s: 540,
        lasts_s: 790,
        soft_close: false,
    },
    DemoItem {
        title: "정오에만 울리는 탁상시계",
        description: "하루에 한 번, 정오에만 종을 치는 탁상시계입니다. 태엽은 여드레 동안 풀립니다.",
        category: "watches",
        opening_price: 95_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: Some(130_000),
        buy_now_price: None,
        attributes: &[("높이", "18 cm"), ("구동", "8일 태엽")],
        starts_in_s: 580,
        lasts_s: 610,
        soft_close: true,
    },
    DemoItem {
        title: "우산 수리공의 공책, 복각본",
        description: "우산살 그림과 셈이 빼곡한 지어낸 공책의 복각본입니다. 종이 색까지 낡은 공책처럼 꾸몄습니다.",
        category: "books",
        opening_price: 18_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: None,
        buy_now_price: Some(50_000),
        attributes: &[("쪽수", "96"), ("제본", "실 제본")],
        starts_in_s: 620,
        lasts_s: 590,
        soft_close: true,
    },
    DemoItem {
        title: "Table-top theremin kit, assembled",
        description: "Built and tuned, with the schematic under the lid. The neighbours' cat has approved it.",
        category: "instruments",
        opening_price: 75_000,
        increment: DemoIncrement::Fixed { step: 5_000 },
        reserve_price: None,
        buy_now_price: Some(210_000),
        attributes: &[("power", "9 V"), ("range", "4 octaves")],
        starts_in_s: 660,
        lasts_s: 570,
        soft_close: true,
    },
    DemoItem {
        title: "누빔 겨울 두루마기",
        description: "솜을 얇게 넣어 손으로 누빈 두루마기입니다. 안감은 감물을 들인 명주입니다.",
        category: "fashion",
        opening_price: 160_000,
        increment: DemoIncrement::Table("won"),
        reserve_price: Some(220_000),
        buy_now_price: Some(480_000),
        attributes: &[("품", "108 cm"), ("안감", "명주")],
        starts_in_s: 700,
        lasts_s: 560,
        soft_close: true,
    },
    DemoItem {
        title: "Marble run made of cherry wood",
        description: "Sixty pieces and eight glass marbles. The longest run that we built took forty-one seconds.",
        category: "games",
        opening_price: 52_000,
        increment: DemoIncrement::PercentOfOpening { basis_points: 1000 },
        reserve_price: None,
        buy_now_price: None,
        attributes: &[("pieces", "60"), ("wood", "cherry")],
        starts_in_s: 740,
        lasts_s: 540,
        soft_close: true,
    },
    DemoItem {
        title: "빗소리 나는 유리 풍경",
        description: "얇은 유리 막대 아홉 개가 비 오는 소리를 냅니다. 처마에도, 창가에도 잘 어울립니다.",
        category: "home",
        opening_price: 24_000,
        increment: DemoIncrement::Fixed { step: 1_000 },
        reserve_price: None,
        buy_now_price: Some(70_000),
        attributes: &[("재질", "유리"), ("길이", "45 cm")],
        starts_in_s: 780,
        lasts_s: 525,
        soft_close: true,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// How long the floor keeps moving.
    const BUSY_S: i64 = 20 * 60;

    fn live_at(second: i64) -> usize {
        let is_live = |item: &&DemoItem| {
            (item.starts_in_s..item.starts_in_s + item.lasts_s).contains(&second)
        };
        DEMO_ITEMS.iter().filter(is_live).count()
    }

    #[test]
    fn prices_stand_in_order() {
        for item in DEMO_ITEMS {
            let (opening, title) = (item.opening_price, item.title);
            assert!(opening >= 100, "{title}");
            assert!(item.reserve_price.is_none_or(|reserve| reserve > opening), "{title}");
            let least = item.reserve_price.unwrap_or(opening + 1);
            assert!(item.buy_now_price.is_none_or(|buy_now| buy_now >= least), "{title}");
        }
    }

    #[test]
    fn increments_are_positive() {
        for item in DEMO_ITEMS {
            match item.increment {
                DemoIncrement::Table(name) => assert_eq!(name, "won", "{}", item.title),
                DemoIncrement::Fixed { step } => assert!(step > 0, "{}", item.title),
                DemoIncrement::PercentOfOpening { basis_points } => {
                    assert!(
                        item.opening_price * i64::from(basis_points) >= 10_000,
                        "{}",
                        item.title
                    );
                }
            }
        }
    }

    #[test]
    fn titles_differ_and_texts_are_there() {
        let titles: BTreeSet<_> = DEMO_ITEMS.iter().map(|item| item.title).collect();
        assert_eq!(titles.len(), DEMO_ITEMS.len());
        assert!(DEMO_ITEMS.iter().all(|item| !item.description.is_empty()));
        assert!(DEMO_ITEMS.iter().all(|item| !item.attributes.is_empty()));
    }

    #[test]
    fn there_is_something_in_ten_categories() {
        let categories: BTreeSet<_> = DEMO_ITEMS.iter().map(|item| item.category).collect();
        assert_eq!(categories.len(), 10, "{categories:?}");
    }

    #[test]
    fn the_floor_is_never_empty_and_never_crowded_while_it_is_busy() {
        assert_eq!(live_at(1), 10);
        for second in 1..BUSY_S {
            assert!((5..=22).contains(&live_at(second)), "{} at {second} s", live_at(second));
        }
        assert_eq!(live_at(2 * BUSY_S), 2);
    }

    #[test]
    fn something_opens_or_closes_every_minute() {
        let opens = DEMO_ITEMS.iter().map(|item| item.starts_in_s);
        let closes = DEMO_ITEMS.iter().map(|item| item.starts_in_s + item.lasts_s);
        let moments: BTreeSet<_> = opens.chain(closes).filter(|&moment| moment <= BUSY_S).collect();
        let moments: Vec<_> = moments.into_iter().chain([BUSY_S]).collect();
        for pair in moments.windows(2) {
            assert!(pair[1] - pair[0] <= 60, "nothing between {} s and {} s", pair[0], pair[1]);
        }
    }

    #[test]
    fn the_seller_sells_and_the_others_bid() {
        let roles_of =
            |name| DEMO_USERS.iter().find(|user| user.name == name).map(|user| user.roles);
        assert_eq!(roles_of(DEMO_SELLER), Some(["seller"].as_slice()));
        assert_eq!(roles_of("minji"), Some(["bidder"].as_slice()));
        assert_eq!(roles_of("junho"), Some(["bidder"].as_slice()));
    }
}
