// A small frontend on types made from openapi/openapi.json: what a page does must compile.

import createClient from "openapi-fetch";

import type { components, paths } from "./api.js";

type Schemas = components["schemas"];

const exchange = createClient<paths>({ baseUrl: "https://auction.example.com" });

const unreachable = (never: never): never => {
  throw new Error(`not known when this was compiled: ${JSON.stringify(never)}`);
};

const won = (money: Schemas["Money"]): string => `${money.amount} ${money.currency}`;

/** Every state has words; a new one would not compile. */
export function heading(auction: Schemas["Auction"]): string {
  switch (auction.status) {
    case "scheduled":
      return `opens ${auction.starts_at}`;
    case "live":
      return auction.minimum_next_bid ? `bid from ${won(auction.minimum_next_bid)}` : "at the cap";
    case "ended":
      return auction.result === "sold" ? `sold for ${won(auction.price)}` : "not sold";
    case "cancelled":
      return "called off";
    default:
      return unreachable(auction.status);
  }
}

export function step(increment: Schemas["Increment"]): string {
  if (increment.kind === "fixed") return `${increment.step}`;
  if (increment.kind === "percent_of_opening") return `${increment.basis_points / 100} %`;
  return increment.rules ? `${increment.rules.length} rules` : (increment.table ?? "");
}

/** Every page of a list. */
export async function liveAuctions(): Promise<Schemas["Auction"][]> {
  const all: Schemas["Auction"][] = [];
  let cursor: string | null = null;
  do {
    const page: Schemas["AuctionPage"] | undefined = (
      await exchange.GET("/v1/auctions", {
        params: { query: { status: "live", sort: "ending_soon", ...(cursor ? { cursor } : {}) } },
      })
    ).data;
    all.push(...(page?.items ?? []));
    cursor = page?.next_cursor ?? null;
  } while (cursor !== null);
  return all;
}

export async function sell(): Promise<string | undefined> {
  const { data } = await exchange.POST("/v1/auctions", {
    body: {
      title: "조선 백자 달항아리",
      opening_price: 1_000_000,
      increment: { kind: "table", rules: [{ below: 10_000, step: 100 }, { below: null, step: 500 }] },
      ends_at: "2026-12-01T09:00:00.000Z",
    },
  });
  return data?.id;
}

/** What is left out stays, null takes away. */
export async function edit(id: string, etag: string): Promise<void> {
  await exchange.PATCH("/v1/auctions/{id}", {
    params: { path: { id }, header: { "If-Match": etag } },
    body: { title: "항아리" } satisfies Schemas["AuctionChanges"],
  });
  await exchange.PATCH("/v1/auctions/{id}", {
    params: { path: { id }, header: { "If-Match": etag } },
    body: { reserve_price: null } satisfies Schemas["AuctionChanges"],
  });
  await exchange.PATCH("/v1/me", { body: { nickname: "소라" } satisfies Schemas["MeChanges"] });
  await exchange.PATCH("/v1/me/addresses/{id}", {
    params: { path: { id } },
    body: { line2: null } satisfies Schemas["AddressChanges"],
  });
}

/** Requests that were made elsewhere. */
export const send = {
  bid: (id: string, body: Schemas["NewBid"]) =>
    exchange.POST("/v1/auctions/{id}/bids", {
      params: { path: { id }, header: { "Idempotency-Key": crypto.randomUUID() } },
      body,
    }),
  auction: (body: Schemas["NewAuction"]) => exchange.POST("/v1/auctions", { body }),
  read: (body: Schemas["ReadNotifications"]) =>
    exchange.POST("/v1/me/notifications/read", { body }),
};

/** Another one like it. */
export const again = (sold: Schemas["Auction"], ends_at: string) => {
  const { title, category, increment, buy_now_price } = sold;
  return send.auction({
    title,
    category,
    increment,
    opening_price: sold.opening_price.amount,
    buy_now_price: buy_now_price?.amount ?? null,
    ends_at,
  });
};

/** What is always sent is never undefined. */
export const always = (auction: Schemas["Auction"], me: Schemas["Me"]): (string | number | null)[] => [
  auction.leader_alias,
  auction.result,
  me.birth_year,
  me.profile_consent_at,
];

/** A bid, and what is to be said of a refusal. */
export async function bid(id: string, ceiling: number): Promise<string> {
  const { data, error } = await exchange.POST("/v1/auctions/{id}/bids", {
    params: { path: { id }, header: { "Idempotency-Key": crypto.randomUUID() } },
    body: { max_amount: ceiling },
  });
  if (data) return data.outcome === "leading" ? "you lead" : "you were outbid at once";
  switch (error.code) {
    case "bid_too_low":
      return error.minimum_next_bid ? `at least ${won(error.minimum_next_bid)}` : "too late";
    case "confirmation_required":
      return "is that meant?";
    default:
      return error.detail;
  }
}

export async function tag(id: string): Promise<string | null> {
  const { response } = await exchange.HEAD("/v1/auctions/{id}", { params: { path: { id } } });
  return response.headers.get("ETag");
}

/** Each event of a stream, told apart by its name. */
export function show(frame: Schemas["AuctionFrame"]): string {
  switch (frame.event) {
    case "snapshot":
      return `${frame.data.status} at ${won(frame.data.price)}`;
    case "reset":
      return frame.data.reason;
    case "bid.placed":
      return `${frame.data.data.bidder} ${frame.data.data.outcome} at ${won(frame.data.price)}`;
    case "auction.extended":
      return `ends ${frame.data.ends_at}`;
    case "auction.closed":
      return frame.data.data.winner ?? frame.data.data.result;
    case "auction.scheduled":
    case "auction.edited":
      return frame.data.data.item.title;
    case "auction.withdrawn":
    case "auction.opened":
    case "auction.bought":
    case "bid.retracted":
      return frame.event;
    default:
      return unreachable(frame);
  }
}

export function follow(id: string, on: (text: string) => void): EventSource {
  const source = new EventSource(`https://auction.example.com/v1/auctions/${id}/events`);
  const names: Schemas["AuctionFrame"]["event"][] = ["snapshot", "reset", "bid.placed"];
  for (const event of names) {
    source.addEventListener(event, ({ data, lastEventId }) => {
      on(show({ event, id: lastEventId, data: JSON.parse(data) } as Schemas["AuctionFrame"]));
    });
  }
  return source;
}

/** The log, entry by entry. */
export function said(entry: Schemas["LogEntry"]): string {
  if (entry.type === "auction.closed") return entry.data.result;
  if (entry.type === "bid.placed") return entry.data.outcome;
  return entry.type;
}

export function notified(frame: Schemas["InboxFrame"]): number {
  if (frame.event === "snapshot") return frame.data.unread;
  if (frame.event === "reset") return 0;
  if (frame.event === "outbid") return frame.data.data.price.amount;
  if (frame.event === "won") return frame.data.data.result === "sold" ? 2 : 3;
  return 1;
}

export async function readAll(): Promise<number | undefined> {
  const inbox = await exchange.GET("/v1/me/notifications", { params: { query: { unread: true } } });
  const newest = inbox.data?.items[0];
  if (!newest) return 0;
  const body = { up_to: newest.id } satisfies Schemas["ReadNotifications"];
  return (await exchange.POST("/v1/me/notifications/read", { body })).data?.unread;
}

/** What a server that is told by webhook does. */
export function hear(message: Schemas["WebhookMessage"]): string {
  if (message.type === "webhook.test") return message.data.client_id;
  if (message.type === "auction.closed") return message.data.data.result;
  return message.data.auction_id;
}

/** Where a login begins, and what it ends with. */
export async function logIn(code_challenge: string): Promise<void> {
  const client = { client_id: "hc_9Gm2qVTl0nQ3o7wZr5kXyA", redirect_uri: "https://shop.example.com/callback" };
  await exchange.GET("/oauth/authorize", {
    params: { query: { ...client, response_type: "code", code_challenge, code_challenge_method: "S256" } },
  });
}

export const byCode = (code: string, code_verifier: string) =>
  ({
    grant_type: "authorization_code",
    client_id: "hc_9Gm2qVTl0nQ3o7wZr5kXyA",
    redirect_uri: "https://shop.example.com/callback",
    code,
    code_verifier,
  }) satisfies Schemas["TokenRequest"];

export const byRefreshing = (refresh_token: string) =>
  ({ grant_type: "refresh_token", refresh_token }) satisfies Schemas["TokenRequest"];
